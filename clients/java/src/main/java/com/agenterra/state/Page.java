package com.agenterra.state;

import java.util.List;

/**
 * A page of a listing.
 *
 * @param items what is on it
 * @param nextPageToken asks for the next page; empty: this was the last
 * @param <T> the type of the items
 */
public record Page<T>(List<T> items, String nextPageToken) {}
