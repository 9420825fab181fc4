package com.agenterra.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.agenterra.state.support.Service;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What README.md shows is so. */
@Timeout(120)
final class ReadmeTest {
  private static final Pattern BLOCK = Pattern.compile("(?ms)^```java\n(.*?)^```$");
  private static final Pattern SAYS = Pattern.compile("(?m)(?:println\\(.*\\); |^)// (.*)$");

  @TempDir private Path folder;

  @Test
  void theProgramsOfTheReadmePrintWhatItSays() throws IOException, InterruptedException {
    List<String> blocks =
        BLOCK
            .matcher(Files.readString(Path.of("README.md")))
            .results()
            .map(block -> block.group(1))
            .toList();
    assertEquals(6, blocks.size());
    // The first is a program, the others go on where it ends.
    String rest =
        blocks.stream().skip(1).map(block -> "{\n" + block + "}\n").collect(Collectors.joining());
    String program =
        ("import java.util.*;\n" + blocks.get(0))
            .replaceFirst(
                "(?m)^    }\n  }\n}$", rest.replace("\\", "\\\\").replace("$", "\\$") + "}}}");
    assertTrue(program.contains("watchSession"));
    try (Service service = new Service()) {
      List<String> expected =
          SAYS.matcher(program).results().map((MatchResult said) -> said.group(1)).toList();
      assertTrue(expected.size() > 15, expected::toString);
      assertEquals(expected, run(program.replace("http://127.0.0.1:7410", service.url())));
    }
  }

  @Test
  void theVersionIsTheServices() throws IOException {
    String manifest = Files.readString(Path.of("../../package.json"));
    String version = first("\"version\": \"([^\"]+)\"", manifest);
    for (String pom : List.of("pom.xml", "workspace.xml")) {
      assertEquals(version, first("<version>([^<]+)<", Files.readString(Path.of(pom))), pom);
    }
    String client = "<artifactId>workflow-state-client</artifactId>\\s*<version>([^<]+)<";
    for (String file : List.of("README.md", "interop/pom.xml", "../../samples/java/pom.xml")) {
      assertEquals(version, first(client, Files.readString(Path.of(file))), file);
    }
  }

  private static String first(String pattern, String text) {
    return Pattern.compile(pattern).matcher(text).results().findFirst().orElseThrow().group(1);
  }

  private List<String> run(String program) throws IOException, InterruptedException {
    Path source = folder.resolve("Items.java");
    Files.writeString(source, program);
    StringWriter problems = new StringWriter();
    String classpath = System.getProperty("java.class.path");
    var compiler = ToolProvider.getSystemJavaCompiler();
    try (var files = compiler.getStandardFileManager(null, null, StandardCharsets.UTF_8)) {
      List<String> options =
          List.of("-cp", classpath, "-d", folder.toString(), "-Xlint:all", "-Werror");
      var units = files.getJavaFileObjects(source);
      var task = compiler.getTask(problems, files, null, options, null, units);
      assertTrue(task.call(), problems::toString);
    }
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    Process process =
        new ProcessBuilder(java, "-cp", classpath + ":" + folder, "Items")
            .redirectErrorStream(true)
            .start();
    List<String> lines =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8)
            .lines()
            .toList();
    assertEquals(0, process.waitFor(), lines::toString);
    return lines;
  }
}
