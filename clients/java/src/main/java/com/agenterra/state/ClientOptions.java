package com.agenterra.state;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where a service is, and how a client calls it.
 *
 * <pre>{@code
 * ClientOptions.of("https://state.example.com").token("...").timeout(Duration.ofSeconds(10))
 * }</pre>
 */
public final class ClientOptions {
  private static final String EXPECTED =
      "expected one such as http://127.0.0.1:7410 or https://state.example.com";
  private static final Pattern URL = Pattern.compile("(?i)(https?)://([^/?#]+)(.*)");
  private static final Pattern AUTHORITY =
      Pattern.compile("(\\[[0-9A-Fa-f:.%]+\\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?");
  private static final String NAMESPACE = "x-workflow-state-namespace";
  private static final Pattern NAME = Pattern.compile("(?!grpc-)[0-9a-z_.-]+");
  private static final Pattern VISIBLE = Pattern.compile("[\\x21-\\x7e]+");
  private static final Pattern PRINTABLE =
      Pattern.compile("|[\\x21-\\x7e]([\\x20-\\x7e]*[\\x21-\\x7e])?");

  private final boolean isSecure;
  private final String target;
  private final Metadata headers = new Metadata();
  private final TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
  private Duration timeout = Duration.ofSeconds(30);
  private Duration silence = Duration.ofSeconds(45);
  private Retry retry = Retry.DEFAULT;
  private Supplier<String> token;
  private Consumer<ManagedChannelBuilder<?>> channel = builder -> {};

  private ClientOptions(boolean isSecure, String target) {
    this.isSecure = isSecure;
    this.target = target;
  }

  /**
   * The service at a URL.
   *
   * @param url {@code http://HOST:PORT} or, with TLS, {@code https://HOST:PORT}
   */
  public static ClientOptions of(String url) {
    // No message repeats the URL: it could hold a password.
    Matcher parts = URL.matcher(Wire.text(url, "url"));
    if (!parts.matches()) {
      throw notUrl("The URL has no scheme that is known, or no host: " + EXPECTED);
    }
    if (parts.group(2).contains("@")) {
      throw notUrl("The URL must have no user or password: set a token or a header");
    }
    if (!parts.group(3).isEmpty() && !parts.group(3).equals("/")) {
      throw notUrl("The URL must have nothing after the port: " + EXPECTED);
    }
    Matcher authority = AUTHORITY.matcher(parts.group(2));
    if (!authority.matches() || !isPort(authority.group(2))) {
      throw notUrl("The URL's host or port can't be read: " + EXPECTED);
    }
    boolean isSecure = parts.group(1).equalsIgnoreCase("https");
    String port = authority.group(2) != null ? authority.group(2) : isSecure ? "443" : "80";
    return new ClientOptions(isSecure, "dns:///" + authority.group(1) + ":" + port);
  }

  private static boolean isPort(String port) {
    return port == null || Integer.parseInt(port) <= 65_535;
  }

  private static WorkflowStateException notUrl(String message) {
    return WorkflowStateException.invalid("url", message + ".");
  }

  /**
   * How long a call may take with all its attempts. Absent: 30 s. Watches and pipelines have no
   * such bound.
   *
   * @param timeout the time
   */
  public ClientOptions timeout(Duration timeout) {
    this.timeout = Wire.span("timeout", timeout);
    return this;
  }

  /**
   * How calls are tried again. Absent: {@link Retry#DEFAULT}.
   *
   * @param retry how
   */
  public ClientOptions retry(Retry retry) {
    this.retry = Objects.requireNonNull(retry, "retry");
    return this;
  }

  /**
   * Sent as {@code authorization: Bearer}. Use it with https only: over http everybody on the way
   * can read it.
   *
   * @param token the token
   */
  public ClientOptions token(String token) {
    bearer(token);
    this.token = () -> token;
    return this;
  }

  /**
   * Gives the token for each attempt, for tokens that run out.
   *
   * @param token called in the thread of the call
   */
  public ClientOptions token(Supplier<String> token) {
    this.token = Objects.requireNonNull(token, "token");
    return this;
  }

  /**
   * Which of the caller's namespaces to work in.
   *
   * @param namespace its name
   */
  public ClientOptions namespace(String namespace) {
    return header(NAMESPACE, namespace);
  }

  /**
   * A further header of every call.
   *
   * @param name its name, in lower case
   * @param value printable ASCII
   */
  public ClientOptions header(String name, String value) {
    if (name == null
        || !NAME.matcher(name).matches()
        || name.endsWith(Metadata.BINARY_HEADER_SUFFIX)) {
      throw WorkflowStateException.invalid(
          "metadata",
          "A header's name is of a-z, 0-9, -, _ and ., and does not begin with grpc- nor end with"
              + " -bin.");
    }
    if (value == null || !PRINTABLE.matcher(value).matches()) {
      throw WorkflowStateException.invalid("metadata", name + " must be printable ASCII.");
    }
    Metadata.Key<String> key = Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    headers.removeAll(key);
    headers.put(key, value);
    return this;
  }

  /**
   * Who may have signed the service's certificate, for an {@code https://} URL. Absent: whom Java
   * trusts.
   *
   * @param pem a file of certificates in PEM
   */
  public ClientOptions rootCertificates(Path pem) {
    return rootCertificates(read(pem));
  }

  /**
   * Who may have signed the service's certificate, for an {@code https://} URL. Absent: whom Java
   * trusts.
   *
   * @param pem certificates in PEM
   */
  public ClientOptions rootCertificates(byte[] pem) {
    return certificates(() -> tls.trustManager(new ByteArrayInputStream(pem)));
  }

  /**
   * Who this client is, for mutual TLS.
   *
   * @param certificate a file of its certificate, and of those who signed it, in PEM
   * @param key a file of its key in PEM (PKCS #8)
   */
  public ClientOptions clientCertificate(Path certificate, Path key) {
    return clientCertificate(read(certificate), read(key));
  }

  /**
   * Who this client is, for mutual TLS.
   *
   * @param certificate its certificate, and those of who signed it, in PEM
   * @param key its key in PEM (PKCS #8)
   */
  public ClientOptions clientCertificate(byte[] certificate, byte[] key) {
    return certificates(
        () -> tls.keyManager(new ByteArrayInputStream(certificate), new ByteArrayInputStream(key)));
  }

  /**
   * How long a watch on a session may hear nothing until it connects anew. Absent: 45 s.
   *
   * @param silence the time; a service says something every 15 s
   */
  public ClientOptions silence(Duration silence) {
    this.silence = Wire.span("silence", silence);
    return this;
  }

  /**
   * Changes how the gRPC channel is built, for what these options have no words for.
   *
   * @param change called with the builder, when all else is set
   */
  public ClientOptions channel(Consumer<ManagedChannelBuilder<?>> change) {
    this.channel = Objects.requireNonNull(change, "change");
    return this;
  }

  Settings settings() {
    ChannelCredentials credentials = isSecure ? tls.build() : InsecureChannelCredentials.create();
    Metadata copy = new Metadata();
    copy.merge(headers);
    return new Settings(target, credentials, timeout, silence, retry, token, copy, channel);
  }

  /** The header of a token. */
  static String bearer(String token) {
    if (token == null || !VISIBLE.matcher(token).matches()) {
      throw WorkflowStateException.invalid(
          Reason.UNAUTHENTICATED, "token", "A token is visible ASCII, without spaces.");
    }
    return "Bearer " + token;
  }

  private interface Reading {
    void run() throws IOException;
  }

  private ClientOptions certificates(Reading reading) {
    if (!isSecure) {
      throw WorkflowStateException.invalid("url", "Certificates need an https:// URL.");
    }
    try {
      reading.run();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return this;
  }

  private static byte[] read(Path pem) {
    try {
      return Files.readAllBytes(pem);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** What a client was told, checked. */
  record Settings(
      String target,
      ChannelCredentials credentials,
      Duration timeout,
      Duration silence,
      Retry retry,
      Supplier<String> token,
      Metadata headers,
      Consumer<ManagedChannelBuilder<?>> channel) {}
}
