# Ordinary programs that ask name servers and data bases: each prints what it got.
dig +short a.dns.test
dig +short +tcp several.dns.test
dig +short _grpc._tcp.dns.test SRV
dig +short aaaa.dns.test AAAA
dig +short huge.dns.test TXT | wc -l
dig absent.dns.test | grep -o 'status: [A-Z]*'
dig servfail.dns.test | grep -o 'status: [A-Z]*'
dig +short +search web
dig +short -x 10.99.0.31
dig +short @10.96.0.10 a.dns.test
dig +time=1 +tries=1 never.dns.test | tail -1
getent hosts web.deep | tr -s ' '
getent ahostsv4 web | head -1 | tr -s ' '
# Further aliases of a line do not travel (docs/limits.md).
getent hosts of-the-pod | awk '{print $1, $2}'
psql -h postgres -U postgres -Atc 'select 6 * 7'
psql 'host=postgres user=postgres sslmode=require' -Atc 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'
psql -h postgres -U postgres -Atc 'select count(*) from generate_series(1, 200000)'
redis-cli -h redis ping
redis-cli -h redis set from-the-laptop value
redis-cli -h redis get from-the-laptop
redis-cli -h redis client info | grep -o ' addr=10.244[.]'
