// The workload of every end-to-end test: it tells what it saw, over HTTP, gRPC, TCP and UDP, and misbehaves on request.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// server is one port and what happens there.
type server struct {
	name  string
	port  int
	does  string
	serve func(port int) error
}

// servers are the ports below which manifests and tests know them.
var servers = []server{
	{"http", 80, "HTTP: tells what it saw", serveHTTP},
	{"https", 443, "the same over TLS: HTTP/1.1, HTTP/2, and over UDP HTTP/3; only with a certificate", serveHTTPS},
	{"tcp", 7000, "TCP echo", serveTCPEcho},
	{"udp", 7001, "UDP echo", serveUDPEcho},
	{"greeter", 7002, "TCP: speaks first", serveGreeter},
	{"deaf", 7003, "TCP: never reads", serveDeaf},
	{"endless", 7004, "TCP: sends without end", serveEndless},
	{"reset", 7005, "TCP: resets after the first byte", serveReset},
	{"half-close", 7006, "TCP: ends its own side first, and counts what it reads (HTTP /half-closed/NAME)", serveHalfClose},
	{"peer", 7007, "TCP: tells who connected", servePeer},
	{"udp-elsewhere", 7008, "UDP: answers from another port", serveUDPElsewhere},
	{"udp-peer", 7009, "UDP: tells who sent", serveUDPPeer},
	{"grpc", 7010, "gRPC: see echo.proto", serveGRPC},
}

var greeting = flag.String("greeting", "220 echo-server ready\r\n", "what the greeter says first")

func main() {
	for i := range servers {
		one := &servers[i]
		variable := "ECHO_" + strings.ToUpper(strings.ReplaceAll(one.name, "-", "_")) + "_PORT"
		flag.IntVar(&one.port, one.name, intFromEnv(variable, one.port), "port, or 0 for none, of "+one.does)
	}
	only := flag.String("only", "", "names of the servers that start, with commas; all when empty")
	flag.Parse()

	failed := make(chan error)
	for _, one := range servers {
		if one.port == 0 || *only != "" && !slices.Contains(strings.Split(*only, ","), one.name) {
			continue
		}
		log.Printf("%s on port %d", one.name, one.port)
		go func() { failed <- fmt.Errorf("%s on port %d: %w", one.name, one.port, one.serve(one.port)) }()
	}

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-failed:
		log.Fatal(err)
	case got := <-ended:
		log.Printf("%v: goodbye", got)
	}
}

func intFromEnv(name string, otherwise int) int {
	var value int
	if _, err := fmt.Sscanf(os.Getenv(name), "%d", &value); err != nil {
		return otherwise
	}
	return value
}
