using AgenTerra.State.V1;
using Google.Protobuf.WellKnownTypes;

namespace AgenTerra.WorkflowState;

/// <summary>
/// One atomic write to one session, put together step by step: all checks, then all changes in order, or
/// nothing.
/// </summary>
/// <example>
/// <code>new Commit("cart-1").Check("order", 0).Append("items", ["eggs"]).Increment("total")</code>
/// </example>
public sealed class Commit
{
    /// <summary>Begins a commit to a session.</summary>
    public Commit(string sessionId) => Request = new CommitRequest { SessionId = sessionId };

    /// <summary>
    /// What is sent, for what this class has no words for: if_revision, request_id, metadata.
    /// </summary>
    public CommitRequest Request { get; }

    /// <summary>Writes only if the key's entry is at this revision; 0: only if there is none.</summary>
    public Commit Check(string key, long ifRevision)
    {
        Request.Checks.Add(new Check { Key = key, IfRevision = ifRevision });
        return this;
    }

    /// <summary>Writes a value; without a ttl it does not expire.</summary>
    public Commit Set(string key, object? value, TimeSpan? ttl = null)
    {
        var set = new SetChange { Key = key, Value = Values.ToMessage(value) };
        if (ttl is { } span)
        {
            set.Ttl = Duration.FromTimeSpan(span);
        }
        return Add(new Change { Set = set });
    }

    /// <summary>Removes a key. One that is absent is no error.</summary>
    public Commit Delete(string key) => Add(new Change { Delete = new DeleteChange { Key = key } });

    /// <summary>Adds to a number; an absent key starts from 0.</summary>
    public Commit Increment(string key, double delta = 1) =>
        Add(new Change { Increment = new IncrementChange { Key = key, Delta = delta } });

    /// <summary>
    /// Adds values to the end of a list, which keeps its last so many, 0: all; an absent key starts from
    /// [].
    /// </summary>
    public Commit Append(string key, IEnumerable<object?> values, int maxItems = 0)
    {
        var append = new AppendChange { Key = key, MaxItems = maxItems };
        append.Values.AddRange(values.Select(Values.ToMessage));
        return Add(new Change { Append = append });
    }

    /// <summary>Applies a JSON Merge Patch (RFC 7396) to an object: null removes a member.</summary>
    public Commit Merge(string key, object? patch) =>
        Add(new Change { Merge = new MergeChange { Key = key, Value = Values.ToMessage(patch) } });

    private Commit Add(Change change)
    {
        Request.Changes.Add(change);
        return this;
    }
}
