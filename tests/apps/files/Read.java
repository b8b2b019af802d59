// Reads a tree as Java programs do.
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.stream.Collectors;

class Read {
    public static void main(String[] words) throws Exception {
        Path tree = Path.of(words[0]);
        System.out.println(Files.readString(tree.resolve("plain.txt")).strip() + " " + new java.io.File(tree + "/big.bin").length());
        try (var list = Files.list(tree.resolve("sub"))) {
            System.out.println(list.map(path -> path.getFileName().toString()).sorted().collect(Collectors.joining(" ")));
        }
        try (var walk = Files.walk(tree.resolve("sub"))) {
            System.out.println(walk.count() + " " + Files.isSymbolicLink(tree.resolve("link.txt")) + " " + Files.readSymbolicLink(tree.resolve("link.txt")));
        }
        System.out.println(tree.resolve("absolute.txt").toRealPath() + " " + Files.isWritable(tree.resolve("plain.txt")));
        try (FileChannel channel = FileChannel.open(tree.resolve("big.bin"))) {
            var mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(mapped);
            System.out.println(HexFormat.of().formatHex(digest.digest()));
        }
        try {
            Files.writeString(tree.resolve("plain.txt"), "x");
        } catch (FileSystemException error) {
            System.out.println(error.getFile() + ": " + error.getReason());
        }
    }
}
