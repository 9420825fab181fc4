package com.agenterra.state;

import com.google.protobuf.Value;
import java.nio.charset.StandardCharsets;
import java.util.AbstractMap;
import java.util.AbstractSet;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A session's state to change, as an update gives it to its function: use it as a map.
 *
 * <p>Lists and maps in it can be changed in place. What was looked at is checked by the commit, so
 * that it is made only if that is unchanged; whoever iterates over the draft, or asks for its size,
 * has looked at everything.
 */
public final class Draft extends AbstractMap<String, Object> {
  /** A commit takes so many checks by default, and a key so many bytes. */
  private static final int MAX_CHECKS = 1000;

  private static final int MAX_KEY_BYTES = 512;
  private static final Object DELETED = new Object();

  private final Map<String, com.agenterra.state.v1.Entry> seen;

  /** Keys that were looked at or written, in that order. */
  private final Set<String> touched = new LinkedHashSet<>();

  /** The values of those that were read or written. */
  private final Map<String, Object> values = new HashMap<>();

  private boolean isEnumerated;
  private boolean isClosed;

  Draft(Map<String, com.agenterra.state.v1.Entry> seen) {
    this.seen = seen;
  }

  @Override
  public boolean containsKey(Object key) {
    if (!(key instanceof String name)) {
      return false;
    }
    touched.add(name);
    return has(name);
  }

  @Override
  public Object get(Object key) {
    if (!containsKey(key)) {
      return null;
    }
    String name = (String) key;
    if (!values.containsKey(name)) {
      values.put(name, Values.fromMessage(seen.get(name).getValue()));
    }
    return values.get(name);
  }

  /**
   * The list under a key, to be changed in place; a new one if there is none.
   *
   * @param key the key
   * @throws ClassCastException if there is something else under the key
   */
  public List<Object> list(String key) {
    return Values.asList(computeIfAbsent(key, absent -> new ArrayList<>()));
  }

  /**
   * The map under a key, to be changed in place; a new one if there is none.
   *
   * @param key the key
   * @throws ClassCastException if there is something else under the key
   */
  public Map<String, Object> map(String key) {
    return Values.asMap(computeIfAbsent(key, absent -> new LinkedHashMap<String, Object>()));
  }

  @Override
  public Object put(String key, Object value) {
    Object before = get(Wire.key(key));
    write(key, value);
    return before;
  }

  @Override
  public Object remove(Object key) {
    if (!containsKey(key)) {
      return null;
    }
    Object before = get(key);
    write((String) key, DELETED);
    return before;
  }

  @Override
  public void clear() {
    isEnumerated = true;
    keys().forEach(key -> write(key, DELETED));
  }

  @Override
  public int size() {
    isEnumerated = true;
    return keys().size();
  }

  @Override
  public Set<Entry<String, Object>> entrySet() {
    return new AbstractSet<>() {
      @Override
      public int size() {
        return Draft.this.size();
      }

      @Override
      public Iterator<Entry<String, Object>> iterator() {
        isEnumerated = true;
        return new Entries(keys().iterator());
      }
    };
  }

  /** The state as a plain map, its values those of the draft. To copy is not to look. */
  public Map<String, Object> copy() {
    Map<String, Object> copy = new LinkedHashMap<>();
    for (String key : keys()) {
      copy.put(
          key,
          values.containsKey(key) ? values.get(key) : Values.fromMessage(seen.get(key).getValue()));
    }
    return copy;
  }

  /** Looks at nothing, so that printing it makes no conflict. */
  @Override
  public String toString() {
    return copy().toString();
  }

  /** Ends the changing: what came later would be lost, so it fails. */
  void close() {
    isClosed = true;
  }

  /**
   * What is to be committed to the session, which is at that revision; empty: nothing was changed.
   */
  Optional<Commit> commit(String sessionId, long revision) {
    Map<String, Value> changes = new LinkedHashMap<>();
    for (String key : touched) {
      if (!values.containsKey(key)) {
        continue;
      }
      Object value = values.get(key);
      com.agenterra.state.v1.Entry before = seen.get(key);
      if (value == DELETED) {
        if (before != null) {
          changes.put(key, null);
        }
        continue;
      }
      Value after = Values.toMessage(key, value);
      // Compared as messages: the order of members does not count, nor whether a number is an
      // Integer or a Long.
      if (before == null || !before.getValue().equals(after)) {
        changes.put(key, after);
      }
    }
    if (changes.isEmpty()) {
      return Optional.empty();
    }
    Commit commit = Commit.to(sessionId);
    if (isEnumerated || touched.size() > MAX_CHECKS) {
      commit.ifRevision(revision);
    } else {
      for (String key : touched) {
        // What can't be a key can't appear either; one that was written is refused with the
        // changes.
        if (mayBeKey(key)) {
          commit.check(key, seen.containsKey(key) ? seen.get(key).getRevision() : 0);
        }
      }
    }
    changes.forEach(
        (key, value) -> {
          if (value == null) {
            commit.delete(key);
          } else {
            commit.setMessage(key, value);
          }
        });
    return Optional.of(commit);
  }

  private List<String> keys() {
    Set<String> keys = new LinkedHashSet<>(seen.keySet());
    touched.stream().filter(values::containsKey).forEach(keys::add);
    return keys.stream().filter(this::has).toList();
  }

  private boolean has(String key) {
    return values.containsKey(key) ? values.get(key) != DELETED : seen.containsKey(key);
  }

  private void write(String key, Object value) {
    if (isClosed) {
      throw WorkflowStateException.invalid(
          "change", "A draft can't be changed when its update has ended.");
    }
    touched.add(key);
    values.put(key, value);
  }

  private static boolean mayBeKey(String key) {
    int bytes = key.getBytes(StandardCharsets.UTF_8).length;
    return bytes >= 1 && bytes <= MAX_KEY_BYTES && Values.isWellFormed(key);
  }

  /** The entries of the draft, whose values can be set, and which can be removed. */
  private final class Entries implements Iterator<Entry<String, Object>> {
    private final Iterator<String> keys;
    private String last;

    Entries(Iterator<String> keys) {
      this.keys = keys;
    }

    @Override
    public boolean hasNext() {
      return keys.hasNext();
    }

    @Override
    public Entry<String, Object> next() {
      last = keys.next();
      return new SimpleEntry<>(last, get(last)) {
        private static final long serialVersionUID = 1;

        @Override
        public Object setValue(Object value) {
          Draft.this.put(getKey(), value);
          return super.setValue(value);
        }
      };
    }

    @Override
    public void remove() {
      if (last == null) {
        throw new IllegalStateException("There is no entry to remove.");
      }
      Draft.this.remove(last);
      last = null;
    }
  }
}
