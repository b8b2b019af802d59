import java.io.InputStream;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.NoRouteToHostException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

/** Java's two ways to connect, and a refusal. */
public class Single {
    private static final byte[] REQUEST = "GET / HTTP/1.1\r\n\r\n".getBytes(StandardCharsets.US_ASCII);

    public static void main(String[] args) throws Exception {
        try (Socket socket = new Socket("api", 8080)) {
            System.out.println(socket.getLocalAddress() + " " + socket.getRemoteSocketAddress());
            socket.getOutputStream().write(REQUEST);
            InputStream in = socket.getInputStream();
            System.out.println(body(in.readAllBytes()));
        }
        try (SocketChannel channel = SocketChannel.open(); Selector selector = Selector.open()) {
            channel.configureBlocking(false);
            if (!channel.connect(new InetSocketAddress("10.96.7.7", 8080))) {
                channel.register(selector, SelectionKey.OP_CONNECT);
                selector.select();
                channel.finishConnect();
            }
            System.out.println(channel.getRemoteAddress());
            selector.keys().forEach(SelectionKey::cancel);
            selector.selectNow();
            channel.configureBlocking(true);
            channel.write(ByteBuffer.wrap(REQUEST));
            ByteBuffer answer = ByteBuffer.allocate(4096);
            while (channel.read(answer) >= 0) {
            }
            System.out.println(body(java.util.Arrays.copyOf(answer.array(), answer.position())));
        }
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress("10.96.7.8", 80), 3000);
        } catch (NoRouteToHostException | ConnectException refused) {
            System.out.println(refused.getMessage().replaceAll(" \\(.*", ""));
        }
    }

    private static String body(byte[] answer) {
        return new String(answer, StandardCharsets.US_ASCII).replaceAll("(?s).*\r\n\r\n", "");
    }
}
