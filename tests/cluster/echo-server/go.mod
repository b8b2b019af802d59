module mirror.test/cluster/echo-server

go 1.24.0
