package workflowstate

import (
	"context"
	"iter"

	statev1 "github.com/agenterra/workflow-state/clients/go/gen/agenterra/state/v1"
)

// The most items of a page, by default.
const largestPage = 1000

// ListState lists the entries of a session by key, fetching a page when it needs one. The timeout is of each
// page. After an error it ends.
//
//	for entry, err := range client.ListState(ctx, "cart-1") {
func (c *Client) ListState(
	ctx context.Context, sessionID string, options ...ListStateOption,
) iter.Seq2[*Entry, error] {
	request := listState(sessionID, options)
	return listing(request.GetPageToken(), func(token string) (Page[*Entry], error) {
		return c.ListStatePage(ctx, sessionID, also[ListStateOption](options, PageToken(token))...)
	})
}

// ListStatePage lists one page of the entries of a session.
func (c *Client) ListStatePage(
	ctx context.Context, sessionID string, options ...ListStateOption,
) (Page[*Entry], error) {
	response, err := call(ctx, c, c.stub.ListState, listState(sessionID, options), false)
	if err != nil {
		return Page[*Entry]{}, err
	}
	return Page[*Entry]{entriesOf(response.GetEntries()), response.GetNextPageToken()}, nil
}

// ListSessions lists the sessions that match every filter that is given, fetching a page when it needs one.
// The timeout is of each page. After an error it ends.
func (c *Client) ListSessions(ctx context.Context, options ...ListSessionsOption) iter.Seq2[*Session, error] {
	request := listSessions(options)
	return listing(request.GetPageToken(), func(token string) (Page[*Session], error) {
		return c.ListSessionsPage(ctx, also[ListSessionsOption](options, PageToken(token))...)
	})
}

// ListSessionsPage lists one page of the sessions that match.
func (c *Client) ListSessionsPage(
	ctx context.Context, options ...ListSessionsOption,
) (Page[*Session], error) {
	response, err := call(ctx, c, c.stub.ListSessions, listSessions(options), false)
	if err != nil {
		return Page[*Session]{}, err
	}
	return Page[*Session]{sessionsOf(response.GetSessions()), response.GetNextPageToken()}, nil
}

// AllSessionIDs gives the ids of all sessions, in order.
func (c *Client) AllSessionIDs(ctx context.Context) ([]string, error) {
	ids := []string{}
	for session, err := range c.ListSessions(ctx, ViewIDs, PageSize(largestPage)) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, session.SessionID)
	}
	return ids, nil
}

// ListEvents lists what the commits to a session did, fetching a page when it needs one. The timeout is of
// each page. After an error it ends.
func (c *Client) ListEvents(
	ctx context.Context, sessionID string, options ...ListEventsOption,
) iter.Seq2[*Event, error] {
	request := listEvents(sessionID, options)
	return listing(request.GetPageToken(), func(token string) (Page[*Event], error) {
		return c.ListEventsPage(ctx, sessionID, also[ListEventsOption](options, PageToken(token))...)
	})
}

// ListEventsPage lists one page of what the commits to a session did.
func (c *Client) ListEventsPage(
	ctx context.Context, sessionID string, options ...ListEventsOption,
) (Page[*Event], error) {
	response, err := call(ctx, c, c.stub.ListEvents, listEvents(sessionID, options), false)
	if err != nil {
		return Page[*Event]{}, err
	}
	return Page[*Event]{eventsOf(response.GetEvents()), response.GetNextPageToken()}, nil
}

// also gives the options with one more.
func also[Option any](options []Option, more Option) []Option {
	return append(options[:len(options):len(options)], more)
}

// listing gives the items of pages, each time from the beginning.
func listing[T any](begin string, fetch func(token string) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := begin; ; {
			page, err := fetch(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if token = page.NextPageToken; token == "" {
				return
			}
		}
	}
}

// completed gives the session that a write left, with its state: where the answer has none, page by page, at
// its revision.
//
// The write is done by then, so a service that can't be reached, or does not let the caller in, is
// OUTCOME_UNKNOWN. HISTORY_COMPACTED passes on: others have written so much meanwhile that the revision is not
// kept any more.
func (c *Client) completed(ctx context.Context, session *statev1.Session) (*Session, error) {
	whole := sessionOf(session)
	if whole == nil || len(whole.State) > 0 {
		return whole, nil
	}
	entries, err := c.allEntries(ctx, whole.SessionID, whole.Revision)
	if err != nil {
		if failure, ok := err.(*Error); ok && failure.beforeTheStore() {
			message := "The write was made, but not all of the session's state could be read; " +
				"retry it with the same request id."
			return nil, newError(ReasonOutcomeUnknown, message, failure)
		}
		return nil, err
	}
	for key, entry := range entries {
		whole.State[key] = fromValue(entry.GetValue())
	}
	return whole, nil
}

// allEntries reads the entries of a session at a revision.
func (c *Client) allEntries(
	ctx context.Context, sessionID string, revision int64,
) (map[string]*statev1.Entry, error) {
	entries := map[string]*statev1.Entry{}
	request := listState(sessionID, []ListStateOption{AtRevision(revision), PageSize(largestPage)})
	for {
		page, err := call(ctx, c, c.stub.ListState, request, false)
		if err != nil {
			return nil, err
		}
		for _, entry := range page.GetEntries() {
			entries[entry.GetKey()] = entry
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return entries, nil
		}
	}
}

// noKey asks for a session without its state: no key begins with it, as keys go.
const noKey = "\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff\U0010ffff"

// readAll gives the entries of a session as they were at one moment, and the revision to check if all of it
// is to be unchanged.
//
// A revision that was known before the entries were read, or that one of them carries, is the session's at
// that moment or older: the check can fail needlessly (and says the revision to know next time), but never
// hold wrongly.
func (c *Client) readAll(
	ctx context.Context, sessionID string, known int64,
) (map[string]*statev1.Entry, int64, error) {
	first, err := call(ctx, c, c.stub.ListState,
		listState(sessionID, []ListStateOption{PageSize(largestPage)}), false)
	if err != nil {
		return nil, 0, err
	}
	if first.GetNextPageToken() == "" {
		entries := make(map[string]*statev1.Entry, len(first.GetEntries()))
		for _, entry := range first.GetEntries() {
			entries[entry.GetKey()] = entry
			known = max(known, entry.GetRevision())
		}
		return entries, known, nil
	}
	// Pages are read one by one: as they were at one revision, they fit together.
	session, err := c.GetSession(ctx, sessionID, KeyPrefix(noKey))
	if err != nil || session == nil {
		return nil, 0, err
	}
	entries, err := c.allEntries(ctx, sessionID, session.Revision)
	return entries, session.Revision, err
}
