<?php
// The client in PHP: streams, curl, sockets by streams, gethostbyname* (libc) and dns_get_record (res_*).
// One line for each check: its name, what came of it. Usage: client.php CA-FILE

const PATIENCE = 10;
$ca = $argv[1];

function check(string $name, string $result): void {
    echo "$name $result\n";
}

function http_raw(): string {
    $connection = fsockopen('echo-server', 80, $code, $message, PATIENCE);
    fwrite($connection, "GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n");
    $answer = stream_get_contents($connection);
    return explode(' ', $answer)[1] . ' ' . substr($answer, -5);
}

function http_streams(string $url, ?string $ca): string {
    $options = ['http' => ['timeout' => PATIENCE], 'ssl' => $ca === null ? [] : ['cafile' => $ca]];
    $body = @file_get_contents($url, false, stream_context_create($options));
    if ($body === false) {
        return str_contains(error_get_last()['message'], 'operation failed') ? 'untrusted' : error_get_last()['message'];
    }
    return explode(' ', $http_response_header[0])[1] . ' ' . $body;
}

function http_curl(string $url, string $ca): string {
    $curl = curl_init($url);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => PATIENCE, CURLOPT_CAINFO => $ca]);
    $body = curl_exec($curl);
    return $body === false ? curl_error($curl) : curl_getinfo($curl, CURLINFO_RESPONSE_CODE) . ' ' . $body;
}

function tls_raw(string $ca): string {
    $context = stream_context_create(['ssl' => ['cafile' => $ca]]);
    $connection = stream_socket_client('tls://echo-server:443', $code, $message, PATIENCE, STREAM_CLIENT_CONNECT, $context);
    fwrite($connection, "GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n");
    return stream_get_meta_data($connection)['crypto']['protocol'] . ' ' . fread($connection, 12);
}

// Streams of PHP have connected sockets only, and an unconnected one that is bound.
function udp(string $host, int $port, int $size, bool $connected): string {
    $asked = gethostbyname($host) . ":$port";
    $sent = str_repeat('x', $size);
    $socket = $connected ? stream_socket_client("udp://$asked") : stream_socket_server('udp://0.0.0.0:0', $code, $message, STREAM_SERVER_BIND);
    stream_set_timeout($socket, PATIENCE);
    $connected ? fwrite($socket, $sent) : stream_socket_sendto($socket, $sent, 0, $asked);
    if ($connected) {
        // Waits for an answer or an error.
        $read = [$socket];
        $none = null;
        stream_select($read, $none, $none, PATIENCE);
    }
    $got = @stream_socket_recvfrom($socket, 65535, 0, $peer);
    if ($got === false || $got === '') {
        return 'refused';
    }
    $from = $peer === $asked || ($connected && $peer === '') ? 'asked' : 'other';
    return strlen($got) . ($got === $sent ? ' same ' : ' different ') . $from;
}

function some(array|false $values): string {
    if ($values === false || $values === []) {
        return 'none';
    }
    sort($values);
    return count($values) > 5 ? (string)count($values) : implode(',', $values);
}

function query(string $name, int $type, callable $show): string {
    $records = @dns_get_record($name, $type);
    return some($records === false ? false : array_map($show, $records));
}

check('http-raw', http_raw());
check('http-library', http_streams('http://echo-server/bytes/5', null));
check('http-curl', http_curl('http://echo-server/bytes/5', $ca));
check('tls-raw', tls_raw($ca));
check('https-library', http_streams('https://echo-server/bytes/5', $ca));
check('https-untrusted', http_streams('https://echo-server/bytes/5', null));
check('https-curl', http_curl('https://echo-server/bytes/5', $ca));
check('udp-connected', udp('echo-server', 7001, 5, true));
check('udp-unconnected', udp('echo-server', 7001, 5, false));
check('udp-elsewhere', udp('echo-headless', 7008, 5, false));
check('udp-large', udp('echo-headless', 7001, 60000, false));
check('udp-refused', udp('echo-headless', 7099, 5, true));
foreach (['a', 'alias', 'several', 'large', 'absent', 'txt', 'servfail'] as $name) {
    check("lookup-$name", some(gethostbynamel("$name.dns.test")));
}
check('gethostbyaddr', gethostbyaddr('10.99.0.31'));
check('query-txt', query('txt.dns.test', DNS_TXT, fn ($record) => implode('|', $record['entries'])));
check('query-mx', query('mx.dns.test', DNS_MX, fn ($record) => "{$record['pri']} {$record['target']}"));
check('query-srv', query('_grpc._tcp.dns.test', DNS_SRV, fn ($record) => "{$record['port']} {$record['target']}"));
check('query-cname', query('alias.dns.test', DNS_CNAME, fn ($record) => $record['target']));
check('query-six', query('aaaa.dns.test', DNS_AAAA, fn ($record) => $record['ipv6']));
check('query-ptr', query('31.0.99.10.in-addr.arpa', DNS_PTR, fn ($record) => $record['target']));
check('query-huge', query('huge.dns.test', DNS_TXT, fn ($record) => $record['txt']));
check('query-absent', query('absent.dns.test', DNS_A, fn ($record) => $record['ip']));
check('checkdnsrr', checkdnsrr('mx.dns.test', 'MX') && !checkdnsrr('absent.dns.test', 'A') ? 'right' : 'wrong');
