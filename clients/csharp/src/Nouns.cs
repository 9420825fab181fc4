using AgenTerra.State.V1;

namespace AgenTerra.WorkflowState;

/// <summary>One key of a session's state.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">The value; null also where it was deleted.</param>
/// <param name="Revision">The revision of the commit that last wrote it: what a check compares.</param>
/// <param name="UpdateTime">When that was.</param>
/// <param name="ExpireTime">When it expires; null: never.</param>
/// <param name="Deleted">Whether it is gone: in the answers of writes and in events only.</param>
public sealed record StateEntry(
    string Key,
    object? Value,
    long Revision,
    DateTimeOffset UpdateTime,
    DateTimeOffset? ExpireTime,
    bool Deleted)
{
    internal static StateEntry From(Entry message) => new(
        message.Key,
        message.Value is null ? null : Values.FromMessage(message.Value),
        message.Revision,
        message.UpdateTime?.ToDateTimeOffset() ?? DateTimeOffset.UnixEpoch,
        message.ExpireTime?.ToDateTimeOffset(),
        message.Value is null);
}

/// <summary>A workflow session: its state and what is known about it.</summary>
/// <param name="SessionId">Its id.</param>
/// <param name="State">Every key with its value; empty where a listing or a watch leaves it out.</param>
/// <param name="Revision">The revision of its last commit.</param>
/// <param name="CreateTime">Null in a snapshot of a session that does not exist.</param>
/// <param name="UpdateTime">When it was last written.</param>
/// <param name="WorkflowId">The workflow that it belongs to.</param>
/// <param name="UserId">The user that it belongs to.</param>
/// <param name="Labels">What it can be listed by.</param>
/// <param name="ExpireTime">When it expires unless it is written or renewed before; null: never.</param>
public sealed record StateSession(
    string SessionId,
    IReadOnlyDictionary<string, object?> State,
    long Revision,
    DateTimeOffset? CreateTime,
    DateTimeOffset? UpdateTime,
    string? WorkflowId,
    string? UserId,
    IReadOnlyDictionary<string, string> Labels,
    DateTimeOffset? ExpireTime)
{
    internal static StateSession From(Session message) => new(
        message.SessionId,
        Values.FromMembers(message.State),
        message.Revision,
        message.CreateTime?.ToDateTimeOffset(),
        message.UpdateTime?.ToDateTimeOffset(),
        message.HasWorkflowId ? message.WorkflowId : null,
        message.HasUserId ? message.UserId : null,
        new Dictionary<string, string>(message.Labels),
        message.ExpireTime?.ToDateTimeOffset());
}

/// <summary>What a commit left: the session's revision, and each entry that a change named.</summary>
/// <param name="Revision">Unchanged if nothing was written; 0: there is no such session.</param>
/// <param name="Entries">As they are after it, in the order first named.</param>
public sealed record Committed(long Revision, IReadOnlyList<StateEntry> Entries);

/// <summary>
/// A message of a watch on a session; one of its members is set, or neither where nothing is new.
/// </summary>
/// <param name="Revision">Where to go on after it.</param>
/// <param name="Snapshot">The first message of a watch that began without a revision.</param>
/// <param name="Event">What one commit did.</param>
public sealed record WatchMessage(long Revision, StateSession? Snapshot, StateEvent? Event);

/// <summary>What one commit did.</summary>
/// <param name="Revision">The revision that it made.</param>
/// <param name="Time">When.</param>
/// <param name="Kind">What kind of write it was.</param>
/// <param name="Entries">The entries that it wrote, as they were after it.</param>
/// <param name="RequestId">The request id of the write; empty: none.</param>
public sealed record StateEvent(
    long Revision, DateTimeOffset Time, EventKind Kind, IReadOnlyList<StateEntry> Entries, string RequestId)
{
    internal static StateEvent From(Event message) => new(
        message.Revision,
        message.Time?.ToDateTimeOffset() ?? DateTimeOffset.UnixEpoch,
        message.Kind,
        message.Entries.Select(StateEntry.From).ToList(),
        message.RequestId);
}
