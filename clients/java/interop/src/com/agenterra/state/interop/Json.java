package com.agenterra.state.interop;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON as values of the client, and their comparison. */
final class Json {
  private static final Gson GSON =
      new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  private Json() {}

  static Object read(Path file) throws IOException {
    return value(JsonParser.parseString(Files.readString(file)));
  }

  static String write(Object value) {
    return GSON.toJson(value);
  }

  private static Object value(JsonElement element) {
    if (element.isJsonObject()) {
      Map<String, Object> members = new LinkedHashMap<>();
      element
          .getAsJsonObject()
          .entrySet()
          .forEach(e -> members.put(e.getKey(), value(e.getValue())));
      return members;
    }
    if (element.isJsonArray()) {
      List<Object> items = new ArrayList<>();
      element.getAsJsonArray().forEach(item -> items.add(value(item)));
      return items;
    }
    if (element.isJsonNull()) {
      return null;
    }
    JsonPrimitive primitive = element.getAsJsonPrimitive();
    if (primitive.isBoolean()) {
      return primitive.getAsBoolean();
    }
    return primitive.isNumber() ? number(primitive.getAsString()) : primitive.getAsString();
  }

  private static Number number(String text) {
    if (text.matches("-?[0-9]+")) {
      return new BigInteger(text);
    }
    return Double.valueOf(text);
  }

  /** Whether two values are the same: numbers as doubles to the bit, but that -0 is 0. */
  static boolean identical(Object one, Object other) {
    if (one instanceof Number a && other instanceof Number b) {
      return Double.compare(a.doubleValue() + 0.0, b.doubleValue() + 0.0) == 0;
    }
    if (one instanceof List<?> a && other instanceof List<?> b) {
      if (a.size() != b.size()) {
        return false;
      }
      for (int index = 0; index < a.size(); index++) {
        if (!identical(a.get(index), b.get(index))) {
          return false;
        }
      }
      return true;
    }
    if (one instanceof Map<?, ?> a && other instanceof Map<?, ?> b) {
      return a.keySet().equals(b.keySet())
          && a.entrySet().stream()
              .allMatch(member -> identical(member.getValue(), b.get(member.getKey())));
    }
    return one == null ? other == null : one.equals(other);
  }
}
