package com.agenterra.state;

import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/**
 * Java values to {@code google.protobuf.Value} and back: what comes back equals what was written,
 * or it is not written.
 *
 * <p>A value is null, a Boolean, a String, a number (Byte, Short, Integer, Long or BigInteger
 * within 2^53, or a finite Float or Double), or a List or a Map with String keys of values, 32
 * levels deep at most. Anything else is refused with {@link Reason#INVALID_VALUE} and the {@code
 * path} inside the value.
 *
 * <p>Numbers are doubles on the wire: one that is whole and within 2^53 is read as a Long, any
 * other as a Double. Lists and maps that are read can be changed, and the members of a map are
 * ordered by key.
 */
public final class Values {
  /** Up to here every whole number is exact. */
  private static final long LARGEST_LONG = 1L << 53;

  /**
   * Levels of a value; a scalar has one. Parsers stop at 100 nested messages, and an object costs
   * three.
   */
  private static final int MAX_DEPTH = 32;

  /** A longer path, or name in it, is cut. */
  private static final int LONGEST_PATH = 1000;

  private static final int LONGEST_NAME = 100;
  private static final Pattern NAME = Pattern.compile("[A-Za-z_$][A-Za-z0-9_$]*");

  private static final Value NULL = Value.newBuilder().setNullValue(NullValue.NULL_VALUE).build();

  private Values() {}

  /**
   * A value that was read, as a list.
   *
   * @param value what a call of this client gave
   * @return the same list
   * @throws ClassCastException if it is no list
   */
  @SuppressWarnings("unchecked") // A list that was read holds whatever can be stored.
  public static List<Object> asList(Object value) {
    return (List<Object>) value;
  }

  /**
   * A value that was read, as a map.
   *
   * @param value what a call of this client gave
   * @return the same map
   * @throws ClassCastException if it is no map
   */
  @SuppressWarnings(
      "unchecked") // A map that was read has keys that are text, and holds whatever can be stored.
  public static Map<String, Object> asMap(Object value) {
    return (Map<String, Object>) value;
  }

  /** The value of a key as a message. Fails with INVALID_VALUE and its path. */
  static Value toMessage(String key, Object value) {
    return new Writer(key).write(value);
  }

  /** The message as a value of its own: changing it changes nothing else. */
  static Object fromMessage(Value message) {
    return switch (message.getKindCase()) {
      case STRING_VALUE -> message.getStringValue();
      case NUMBER_VALUE -> number(message.getNumberValue());
      case BOOL_VALUE -> message.getBoolValue();
      case STRUCT_VALUE -> {
        Map<String, Object> members = new LinkedHashMap<>();
        new TreeMap<>(message.getStructValue().getFieldsMap())
            .forEach((key, member) -> members.put(key, fromMessage(member)));
        yield members;
      }
      case LIST_VALUE -> {
        List<Value> values = message.getListValue().getValuesList();
        List<Object> items = new ArrayList<>(values.size());
        for (Value value : values) {
          items.add(fromMessage(value));
        }
        yield items;
      }
      case NULL_VALUE, KIND_NOT_SET -> null;
    };
  }

  /** Whether text has no lone surrogates, in whose place the wire would have question marks. */
  static boolean isWellFormed(String text) {
    for (int at = 0; at < text.length(); at++) {
      if (Character.isSurrogate(text.charAt(at))) {
        boolean pair =
            at + 1 < text.length()
                && Character.isSurrogatePair(text.charAt(at), text.charAt(at + 1));
        if (!pair) {
          return false;
        }
        at++;
      }
    }
    return true;
  }

  // Two returns, as in one expression both would become a Double.
  private static Object number(double number) {
    if (number == Math.rint(number) && Math.abs(number) <= LARGEST_LONG) {
      return (long) number;
    }
    return number;
  }

  /** Writes one value, and knows where in it it is. */
  private static final class Writer {
    private final String key;

    /**
     * The lists and maps around what is written now, and where in each that is: an Integer or a
     * String.
     */
    private final List<Object> containers = new ArrayList<>();

    private final List<Object> steps = new ArrayList<>();

    Writer(String key) {
      this.key = key;
    }

    Value write(Object value) {
      if (value instanceof String text) {
        if (!isWellFormed(text)) {
          throw refused("is not well-formed Unicode: it has a lone surrogate");
        }
        return Value.newBuilder().setStringValue(text).build();
      }
      if (value instanceof Number number) {
        // Adding 0 makes 0 of -0.
        return Value.newBuilder().setNumberValue(toDouble(number) + 0.0).build();
      }
      if (value instanceof Boolean bool) {
        return Value.newBuilder().setBoolValue(bool).build();
      }
      if (value == null) {
        return NULL;
      }
      if (value instanceof List<?> items) {
        return writeList(items);
      }
      if (value instanceof Map<?, ?> members) {
        return writeMap(members);
      }
      throw refused(
          "is of the type " + typeOf(value) + ", which would not come back: " + instead(value));
    }

    private Value writeList(List<?> items) {
      ListValue.Builder list = ListValue.newBuilder();
      int index = 0;
      for (Object item : items) {
        enter(items, index++);
        list.addValues(write(item));
        leave();
      }
      return Value.newBuilder().setListValue(list).build();
    }

    private Value writeMap(Map<?, ?> members) {
      Struct.Builder struct = Struct.newBuilder();
      for (Map.Entry<?, ?> member : members.entrySet()) {
        if (!(member.getKey() instanceof String name)) {
          String type = member.getKey() == null ? "null" : typeOf(member.getKey());
          throw refused("has a key of the type " + type + ": the keys of a map are String");
        }
        if (!isWellFormed(name)) {
          throw refused("has a key that is not well-formed Unicode: it has a lone surrogate");
        }
        enter(members, name);
        struct.putFields(name, write(member.getValue()));
        leave();
      }
      return Value.newBuilder().setStructValue(struct).build();
    }

    private void enter(Object container, Object step) {
      containers.add(container);
      steps.add(step);
      if (containers.size() >= MAX_DEPTH) {
        throw tooDeep();
      }
    }

    private void leave() {
      containers.remove(containers.size() - 1);
      steps.remove(steps.size() - 1);
    }

    private WorkflowStateException tooDeep() {
      for (int level = 0; level < containers.size(); level++) {
        for (int deeper = level + 1; deeper < containers.size(); deeper++) {
          if (containers.get(level) == containers.get(deeper)) {
            steps.subList(level + 1, steps.size()).clear();
            return refused("holds itself");
          }
        }
      }
      return refused("is too deep: a value has " + MAX_DEPTH + " levels at most");
    }

    private double toDouble(Number number) {
      if (number instanceof Double || number instanceof Float) {
        double value = number.doubleValue();
        if (!Double.isFinite(value)) {
          throw refused("is not a finite number");
        }
        return value;
      }
      boolean isSmall =
          number instanceof Integer || number instanceof Short || number instanceof Byte;
      if (!isSmall && !(number instanceof Long) && !(number instanceof BigInteger)) {
        String type = typeOf(number);
        throw refused(
            "is of the type "
                + type
                + ", which would not come back: pass a Long, a Double or text");
      }
      boolean isLarge = number instanceof BigInteger big && big.bitLength() > 60;
      if (isLarge
          || Math.abs(number.longValue()) > LARGEST_LONG
          || number.longValue() == Long.MIN_VALUE) {
        throw refused(
            "is beyond 2^53, where numbers here can't hold every whole one: pass it as text");
      }
      return number.longValue();
    }

    private WorkflowStateException refused(String what) {
      String path = path();
      String where = path.equals("$") ? "The value" : "The value at " + path;
      return new WorkflowStateException(
          Reason.INVALID_VALUE,
          where + " " + what + ".",
          Map.of("path", path, "key", key),
          List.of());
    }

    private String path() {
      StringBuilder path = new StringBuilder("$");
      for (Object step : steps) {
        if (path.length() > LONGEST_PATH) {
          return path.append('…').toString();
        }
        if (step instanceof Integer) {
          path.append('[').append(step).append(']');
          continue;
        }
        String name = (String) step;
        if (name.length() <= LONGEST_NAME && NAME.matcher(name).matches()) {
          path.append('.').append(name);
        } else {
          path.append("[").append(quoted(name)).append("]");
        }
      }
      return path.toString();
    }
  }

  private static String typeOf(Object value) {
    return value.getClass().getSimpleName();
  }

  private static String instead(Object value) {
    if (value instanceof byte[]) {
      return "pass text, such as base64";
    }
    if (value instanceof Collection || value.getClass().isArray()) {
      return "pass a List";
    }
    return "pass null, a Boolean, a number, a String, a List or a Map";
  }

  /** Text as JSON has it, cut to a length that can be read. */
  private static String quoted(String text) {
    int end = Math.min(text.length(), LONGEST_NAME);
    if (end < text.length() && Character.isHighSurrogate(text.charAt(end - 1))) {
      end--;
    }
    StringBuilder quoted = new StringBuilder("\"");
    for (char letter : text.substring(0, end).toCharArray()) {
      if (letter == '"' || letter == '\\') {
        quoted.append('\\').append(letter);
      } else if (letter < ' ') {
        quoted.append(String.format("\\u%04x", (int) letter));
      } else {
        quoted.append(letter);
      }
    }
    return quoted.append(end < text.length() ? "…\"" : "\"").toString();
  }
}
