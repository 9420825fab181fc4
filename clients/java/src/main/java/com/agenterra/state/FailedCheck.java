package com.agenterra.state;

import java.io.Serializable;

/**
 * A check that did not hold.
 *
 * @param key the key; empty: the session's own {@code ifRevision}
 * @param ifRevision the revision that was asked for
 * @param actualRevision the revision that is there; 0: absent
 */
public record FailedCheck(String key, long ifRevision, long actualRevision)
    implements Serializable {}
