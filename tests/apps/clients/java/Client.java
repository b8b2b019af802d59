// The client in Java: HttpURLConnection, HttpClient, Socket, SSLSocket, DatagramSocket, DatagramChannel, InetAddress
// (getaddrinfo) and JNDI's own resolver. One line for each check: its name, what came of it.
// Usage: java Client.java CA-FILE

import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.*;
import java.util.stream.*;
import javax.naming.NamingEnumeration;
import javax.naming.NamingException;
import javax.naming.directory.*;
import javax.net.ssl.*;

class Client {
    static final int PATIENCE_MS = 10_000;
    static SSLContext trusting;

    interface Ask {
        String get() throws Exception;
    }

    static void check(String name, Ask ask) {
        String result;
        try {
            result = ask.get();
        } catch (Exception error) {
            result = error.toString();
        }
        System.out.println(name + " " + result);
    }

    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream certificate = Files.newInputStream(Path.of(file))) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(certificate));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static String httpRaw() throws IOException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("echo-server", 80), PATIENCE_MS);
            socket.setSoTimeout(PATIENCE_MS);
            String request = "GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes());
            String answer = new String(socket.getInputStream().readAllBytes());
            return answer.split(" ")[1] + " " + answer.substring(answer.length() - 5);
        }
    }

    static String httpLibrary(String url, SSLContext context) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setConnectTimeout(PATIENCE_MS);
        connection.setReadTimeout(PATIENCE_MS);
        if (context != null) {
            ((HttpsURLConnection) connection).setSSLSocketFactory(context.getSocketFactory());
        }
        try {
            return connection.getResponseCode() + " " + new String(connection.getInputStream().readAllBytes());
        } catch (SSLHandshakeException error) {
            return "untrusted";
        }
    }

    static String httpClient(String url) throws Exception {
        Duration patience = Duration.ofMillis(PATIENCE_MS);
        HttpClient client = HttpClient.newBuilder().sslContext(trusting).connectTimeout(patience).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).timeout(patience).build();
        HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        return answer.statusCode() + " " + answer.body() + " " + answer.version();
    }

    static String tlsRaw() throws IOException {
        try (SSLSocket socket = (SSLSocket) trusting.getSocketFactory().createSocket("echo-server", 443)) {
            socket.setSoTimeout(PATIENCE_MS);
            socket.startHandshake();
            String request = "GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes());
            return socket.getSession().getProtocol() + " " + new String(socket.getInputStream().readNBytes(12));
        }
    }

    static String told(byte[] sent, byte[] got, SocketAddress asked, SocketAddress from) {
        String same = Arrays.equals(sent, got) ? "same" : "different";
        return got.length + " " + same + " " + (asked.equals(from) ? "asked" : "other");
    }

    static byte[] xs(int size) {
        byte[] sent = new byte[size];
        Arrays.fill(sent, (byte) 'x');
        return sent;
    }

    static String udp(String host, int port, int size, boolean connected) throws IOException {
        SocketAddress asked = new InetSocketAddress(InetAddress.getByName(host), port);
        try (DatagramSocket socket = new DatagramSocket()) {
            socket.setSoTimeout(PATIENCE_MS);
            if (connected) {
                socket.connect(asked);
            }
            socket.send(new DatagramPacket(xs(size), size, asked));
            DatagramPacket got = new DatagramPacket(new byte[65535], 65535);
            socket.receive(got);
            byte[] data = Arrays.copyOf(got.getData(), got.getLength());
            return told(xs(size), data, asked, got.getSocketAddress());
        } catch (PortUnreachableException error) {
            return "refused";
        }
    }

    static String udpChannel(int port) throws IOException {
        SocketAddress asked = new InetSocketAddress(InetAddress.getByName("echo-server"), port);
        try (DatagramChannel channel = DatagramChannel.open(); Selector selector = Selector.open()) {
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_READ);
            channel.send(ByteBuffer.wrap(xs(5)), asked);
            selector.select(PATIENCE_MS);
            ByteBuffer got = ByteBuffer.allocate(100);
            SocketAddress from = channel.receive(got);
            return told(xs(5), Arrays.copyOf(got.array(), got.position()), asked, from);
        }
    }

    static String some(Stream<String> values) {
        List<String> all = values.sorted().toList();
        return all.size() > 5 ? String.valueOf(all.size()) : String.join(",", all);
    }

    static String lookup(String name) {
        try {
            return some(Arrays.stream(InetAddress.getAllByName(name)).map(InetAddress::getHostAddress));
        } catch (UnknownHostException error) {
            return error.getMessage().substring(error.getMessage().indexOf(':') + 2);
        }
    }

    static String query(String name, String kind) {
        try {
            Hashtable<String, String> settings = new Hashtable<>();
            settings.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
            Attribute found = new InitialDirContext(settings).getAttributes(name, new String[] {kind}).get(kind);
            if (found == null) {
                return "none";
            }
            List<String> values = new ArrayList<>();
            for (NamingEnumeration<?> all = found.getAll(); all.hasMore();) {
                values.add(all.next().toString());
            }
            return some(values.stream());
        } catch (NamingException error) {
            return error.getClass().getSimpleName();
        }
    }

    public static void main(String[] arguments) throws Exception {
        trusting = trusting(arguments[0]);
        check("http-raw", Client::httpRaw);
        check("http-library", () -> httpLibrary("http://echo-server/bytes/5", null));
        check("http-client", () -> httpClient("http://echo-server/bytes/5"));
        check("tls-raw", Client::tlsRaw);
        check("https-library", () -> httpLibrary("https://echo-server/bytes/5", trusting));
        check("https-untrusted", () -> httpLibrary("https://echo-server/bytes/5", null));
        check("https-client", () -> httpClient("https://echo-server/bytes/5"));
        check("udp-connected", () -> udp("echo-server", 7001, 5, true));
        check("udp-unconnected", () -> udp("echo-server", 7001, 5, false));
        check("udp-elsewhere", () -> udp("echo-headless", 7008, 5, false));
        check("udp-large", () -> udp("echo-headless", 7001, 60000, false));
        check("udp-refused", () -> udp("echo-headless", 7099, 5, true));
        check("udp-channel", () -> udpChannel(7001));
        for (String name : "a both alias several large absent txt servfail refused".split(" ")) {
            check("lookup-" + name, () -> lookup(name + ".dns.test"));
        }
        check("reverse", () -> InetAddress.getByName("10.99.0.31").getCanonicalHostName());
        check("query-txt", () -> query("txt.dns.test", "TXT"));
        check("query-mx", () -> query("mx.dns.test", "MX"));
        check("query-srv", () -> query("_grpc._tcp.dns.test", "SRV"));
        check("query-cname", () -> query("alias.dns.test", "CNAME"));
        check("query-six", () -> query("aaaa.dns.test", "AAAA"));
        check("query-ptr", () -> query("31.0.99.10.in-addr.arpa", "PTR"));
        check("query-huge", () -> query("huge.dns.test", "TXT"));
        check("query-absent", () -> query("absent.dns.test", "A"));
        check("query-nodata", () -> query("txt.dns.test", "A"));
        check("query-servfail", () -> query("servfail.dns.test", "A"));
    }
}
