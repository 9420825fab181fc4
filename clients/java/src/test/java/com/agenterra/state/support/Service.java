package com.agenterra.state.support;

import com.agenterra.state.WorkflowStateClient;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** The service itself, from the checkout, as a process. */
public final class Service implements AutoCloseable {
  private static final Path CHECKOUT = Path.of("../..").toAbsolutePath().normalize();
  private static Service shared;

  private final Process process;
  private final String url;

  public Service(String... options) {
    List<String> command =
        new ArrayList<>(List.of("node_modules/.bin/node", "src/cli.ts", "serve"));
    if (!List.of(options).contains("--listen")) {
      command.addAll(List.of("--listen", "127.0.0.1:0"));
    }
    command.addAll(List.of(options));
    process = start(command);
    String line = firstLine(process);
    if (line == null || !line.startsWith("listening on ")) {
      throw new IllegalStateException("The service did not start: " + line);
    }
    url = line.substring(line.lastIndexOf(' ') + 1);
  }

  /** One for all tests that don't stop it; it ends with the program. */
  public static synchronized Service shared() {
    if (shared == null) {
      shared = new Service();
      Runtime.getRuntime().addShutdownHook(new Thread(shared.process::destroy));
    }
    return shared;
  }

  /** A client of the shared service. */
  public static WorkflowStateClient client() {
    return WorkflowStateClient.connect(shared().url());
  }

  /** A session id that no other test has. */
  public static String newSessionId() {
    return "java-" + UUID.randomUUID();
  }

  /** Runs a program of the checkout's Node.js and gives the first line that it prints. */
  public static String node(String... arguments) {
    List<String> command = new ArrayList<>(List.of("node_modules/.bin/node"));
    command.addAll(List.of(arguments));
    return firstLine(start(command));
  }

  public String url() {
    return url;
  }

  public int port() {
    return Integer.parseInt(url.substring(url.lastIndexOf(':') + 1));
  }

  /** Ends it at once. */
  public void kill() {
    end(process.destroyForcibly());
  }

  @Override
  public void close() {
    process.destroy();
    end(process);
  }

  private static void end(Process process) {
    try {
      if (!process.waitFor(20, TimeUnit.SECONDS)) {
        throw new IllegalStateException("The service did not end.");
      }
    } catch (InterruptedException interrupted) {
      throw new IllegalStateException(interrupted);
    }
  }

  private static Process start(List<String> command) {
    try {
      return new ProcessBuilder(command)
          .directory(CHECKOUT.toFile())
          .redirectError(Redirect.INHERIT)
          .start();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static String firstLine(Process process) {
    try {
      InputStreamReader reader =
          new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8);
      return new BufferedReader(reader).readLine();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
