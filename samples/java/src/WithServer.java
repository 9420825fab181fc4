import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What the samples run against: the service at the URL that the command line names, or one of their
 * own.
 */
record WithServer(String url, Process server) implements AutoCloseable {
  /**
   * The service at the URL; null: one that is started for the sample, and stopped when this is
   * closed.
   */
  static WithServer at(String url) throws IOException {
    if (url != null) {
      return new WithServer(url, null);
    }
    Path checkout = Path.of(System.getProperty("checkout", "")).toAbsolutePath();
    Path node = checkout.resolve("node_modules/.bin/node");
    if (!Files.exists(node)) {
      throw new IllegalStateException(
          "The service needs its packages: run `npm ci` in the checkout first.");
    }
    Process server =
        new ProcessBuilder(node.toString(), "src/cli.ts", "serve", "--listen", "127.0.0.1:0")
            .directory(checkout.toFile())
            .redirectError(Redirect.INHERIT)
            .start();
    BufferedReader lines =
        new BufferedReader(new InputStreamReader(server.getInputStream(), StandardCharsets.UTF_8));
    // "listening on http://127.0.0.1:PORT"
    String line = lines.readLine();
    if (line == null) {
      throw new IllegalStateException("The service did not start.");
    }
    return new WithServer(line.substring(line.lastIndexOf(' ') + 1), server);
  }

  @Override
  public void close() {
    if (server != null) {
      server.destroy();
    }
  }
}
