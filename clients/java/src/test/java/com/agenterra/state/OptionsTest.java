package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.FakeService;
import com.agenterra.state.support.Service;
import com.agenterra.state.v1.GetStateRequest;
import com.agenterra.state.v1.GetStateResponse;
import com.agenterra.state.v1.WorkflowStateServiceGrpc.WorkflowStateServiceImplBase;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import io.grpc.TlsServerCredentials.ClientAuth;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Where a client connects to, and what its calls carry. */
@Timeout(60)
final class OptionsTest {
  @TempDir private Path folder;

  /** Fails so often, and then finds nothing. */
  private static final class Forgetful extends WorkflowStateServiceImplBase {
    private final AtomicInteger failures;

    Forgetful(int failures) {
      this.failures = new AtomicInteger(failures);
    }

    @Override
    public void getState(GetStateRequest request, StreamObserver<GetStateResponse> observer) {
      if (failures.getAndDecrement() > 0) {
        observer.onError(Status.UNAVAILABLE.asRuntimeException());
        return;
      }
      observer.onNext(GetStateResponse.getDefaultInstance());
      observer.onCompleted();
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "127.0.0.1:7410",
        "ftp://127.0.0.1",
        "http://",
        "http://host:port",
        "http://host:65536",
        "http://host:99999",
        "http://ho st",
        "http://user:hunter2@host",
        "http://host/path/hunter2",
        "http://host?hunter2",
        "http://host#hunter2"
      })
  void aUrlThatIsNoneIsRefusedWithoutRepeatingIt(String url) {
    WorkflowStateException error =
        assertThrows(WorkflowStateException.class, () -> ClientOptions.of(url));
    assertEquals(Reason.INVALID_REQUEST, error.reason());
    assertEquals("url", error.metadata().get("field"));
    assertFalse(error.getMessage().contains("hunter2"));
  }

  @Test
  void aUrlNamesAHostAndAPort() {
    assertEquals("dns:///host:80", ClientOptions.of("http://host").settings().target());
    assertEquals("dns:///my_host:81", ClientOptions.of("HTTP://my_host:81").settings().target());
    assertEquals("dns:///host:65535", ClientOptions.of("http://host:65535").settings().target());
    assertEquals("dns:///host:443", ClientOptions.of("https://host/").settings().target());
    assertEquals("dns:///[::1]:7410", ClientOptions.of("http://[::1]:7410").settings().target());
  }

  @Test
  void wrongOptionsAreRefusedByName() {
    ClientOptions options = ClientOptions.of("http://host");
    assertInvalid("timeout", () -> options.timeout(Duration.ZERO));
    assertInvalid("silence", () -> options.silence(Duration.ofSeconds(-1)));
    assertInvalid("token", () -> options.token("two words"));
    assertInvalid("metadata", () -> options.header("Upper", "x"));
    assertInvalid("metadata", () -> options.header("grpc-timeout", "x"));
    assertInvalid("metadata", () -> options.header("x-bytes-bin", "x"));
    assertInvalid("metadata", () -> options.header("x", "line\nbreak"));
    assertInvalid("metadata", () -> options.namespace("é"));
    assertInvalid("url", () -> options.rootCertificates(new byte[1]));
    assertInvalid("url", () -> options.clientCertificate(new byte[1], new byte[1]));
    assertInvalid("retry.attempts", () -> Retry.attempts(0));
    assertInvalid("retry.base", () -> new Retry(1, Duration.ZERO, Duration.ofSeconds(1)));
  }

  @Test
  void pausesGrowAndVaryWithinBounds() {
    Retry retry = new Retry(9, Duration.ofMillis(100), Duration.ofMillis(350));
    long[] longest = {100, 200, 350, 350, 350};
    for (int count = 1; count <= longest.length; count++) {
      int number = count;
      long[] pauses =
          java.util.stream.LongStream.range(0, 200)
              .map(i -> retry.pause(number).toNanos() / 1000)
              .toArray();
      long most = longest[count - 1] * 1000;
      assertTrue(Arrays.stream(pauses).allMatch(pause -> pause >= most / 2 && pause <= most));
      assertTrue(Arrays.stream(pauses).distinct().count() > 100);
    }
    assertTrue(retry.pause(Integer.MAX_VALUE).toMillis() <= 350);
    Duration brief = Duration.ofNanos(1000);
    long pause = new Retry(9, brief, brief).pause(3).toNanos();
    assertTrue(pause >= 500 && pause <= 1000, () -> pause + " ns");
  }

  @Test
  void everyCallCarriesTheTokenTheNamespaceAndTheHeaders() {
    try (FakeService fake = new FakeService(new Forgetful(0));
        WorkflowStateClient client =
            WorkflowStateClient.connect(
                ClientOptions.of(fake.url())
                    .token("t0ken")
                    .namespace("team-a")
                    .header("x-trace", "first")
                    .header("x-trace", "7"))) {
      client.getState("s", "k");
      client.getState("s", "k");
      assertEquals(List.of("Bearer t0ken", "Bearer t0ken"), fake.header("authorization"));
      assertEquals(List.of("team-a", "team-a"), fake.header("x-workflow-state-namespace"));
      assertEquals(List.of("7", "7"), fake.header("x-trace"));
    }
  }

  @Test
  void aTokenFunctionIsAskedForEachAttempt() {
    Deque<String> tokens = new ArrayDeque<>(List.of("one", "two", "three"));
    try (FakeService fake = new FakeService(new Forgetful(2));
        WorkflowStateClient client =
            WorkflowStateClient.connect(ClientOptions.of(fake.url()).token(tokens::pop))) {
      client.getState("s", "k");
      assertEquals(
          List.of("Bearer one", "Bearer two", "Bearer three"), fake.header("authorization"));
    }
  }

  @Test
  void aTokenThatCanNotBeHadIsNoCall() {
    RuntimeException broken = new IllegalStateException("broken");
    ClientOptions options = ClientOptions.of(Service.shared().url()).retry(Retry.attempts(1));
    options.token(
        () -> {
          throw broken;
        });
    try (WorkflowStateClient client = WorkflowStateClient.connect(options)) {
      WorkflowStateException error =
          assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1));
      assertEquals(Reason.STORE_UNAVAILABLE, error.reason());
      assertEquals(broken, error.getCause());
      assertThrows(WorkflowStateException.class, () -> client.watchSessions(WatchSessions.all()));
    }
  }

  @Test
  void theChannelCanBeBuiltOtherwise() {
    try (FakeService fake = new FakeService(new Forgetful(0));
        WorkflowStateClient client =
            WorkflowStateClient.connect(
                ClientOptions.of(fake.url()).channel(builder -> builder.userAgent("mine")))) {
      client.getState("s", "k");
      assertTrue(fake.header("user-agent").get(0).startsWith("mine "));
    }
  }

  @Test
  void aServiceWithTlsIsReachedByWhoTrustsItsCertificate() throws IOException {
    Identity own = identity();
    try (Service service =
        new Service("--tls-cert", own.certificate.toString(), "--tls-key", own.key.toString())) {
      String url = "https://localhost:" + service.port();
      ClientOptions trusting = ClientOptions.of(url).rootCertificates(own.certificate);
      try (WorkflowStateClient client = WorkflowStateClient.connect(trusting)) {
        assertEquals(1, client.setState("s", "k", 1).revision());
      }
      ClientOptions strange = ClientOptions.of(url).retry(Retry.attempts(1));
      try (WorkflowStateClient client = WorkflowStateClient.connect(strange)) {
        WorkflowStateException error =
            assertThrows(WorkflowStateException.class, () -> client.setState("s", "k", 1));
        assertEquals(Reason.STORE_UNAVAILABLE, error.reason());
      }
    }
  }

  @Test
  void aClientShowsItsCertificate() throws IOException {
    Identity own = identity();
    var credentials =
        TlsServerCredentials.newBuilder()
            .keyManager(own.certificate.toFile(), own.key.toFile())
            .trustManager(own.certificate.toFile())
            .clientAuth(ClientAuth.REQUIRE)
            .build();
    try (FakeService fake = new FakeService(credentials, new Forgetful(0))) {
      ClientOptions options =
          ClientOptions.of("https://localhost:" + fake.port())
              .retry(Retry.attempts(1))
              .rootCertificates(Files.readAllBytes(own.certificate));
      try (WorkflowStateClient client = WorkflowStateClient.connect(options)) {
        assertThrows(WorkflowStateException.class, () -> client.getState("s", "k"));
      }
      options.clientCertificate(own.certificate, own.key);
      try (WorkflowStateClient client = WorkflowStateClient.connect(options)) {
        assertEquals(Optional.empty(), client.getState("s", "k"));
      }
    }
  }

  private record Identity(Path certificate, Path key) {}

  /** A fresh certificate for localhost, and its key. */
  private Identity identity() throws IOException {
    String program =
        "import { selfSigned } from './test/support/self-signed.ts';const { cert, key } ="
            + " selfSigned();console.log([cert, key].map((pem) =>"
            + " Buffer.from(pem).toString('base64')).join(' '));";
    String[] parts = Service.node("--input-type=module", "-e", program).split(" ");
    Path certificate = folder.resolve("cert.pem");
    Path key = folder.resolve("key.pem");
    Files.writeString(certificate, decoded(parts[0]));
    Files.writeString(key, decoded(parts[1]));
    return new Identity(certificate, key);
  }

  private static String decoded(String base64) {
    return new String(java.util.Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
  }

  private static void assertInvalid(String field, org.junit.jupiter.api.function.Executable call) {
    WorkflowStateException error = assertThrows(WorkflowStateException.class, call);
    assertEquals(field, error.metadata().get("field"));
  }
}
