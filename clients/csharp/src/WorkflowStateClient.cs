using System.Runtime.CompilerServices;
using AgenTerra.State.V1;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;

namespace AgenTerra.WorkflowState;

/// <summary>
/// The sessions that a service keeps. A call that fails with UNAVAILABLE is tried again until its attempts
/// or its time run out;
/// every write carries a request id, made once for the call unless one is given, so that it is done once.
/// What fails throws a
/// <see cref="WorkflowStateException"/>, also the constructor, and what is cancelled an
/// <see cref="OperationCanceledException"/>. A client is one connection and serves any number of tasks.
/// </summary>
/// <param name="url"><c>http://HOST:PORT</c> or, with TLS, <c>https://HOST:PORT</c>.</param>
/// <param name="options">How it connects, and what its calls carry.</param>
public sealed class WorkflowStateClient(string url, WorkflowStateOptions? options = null) : IDisposable
{
    private readonly Calls _calls = new(url, options ?? new WorkflowStateOptions());

    /// <summary>
    /// The bare service, for what this client has no words for: batches, pipelines, watches on many
    /// sessions.
    /// </summary>
    public WorkflowStateService.WorkflowStateServiceClient Service => _calls.Service;

    /// <summary>Ends what is under way.</summary>
    public void Dispose() => _calls.Dispose();

    /// <summary>
    /// Reads a value; null if there is none, and for a stored null: <see cref="GetEntryAsync"/> tells them
    /// apart.
    /// </summary>
    public async Task<object?> GetStateAsync(
        string sessionId, string key, CancellationToken cancellation = default) =>
        (await GetEntryAsync(sessionId, key, cancellation: cancellation).ConfigureAwait(false))?.Value;

    /// <summary>Reads an entry: the value with its revision and times; null: there is none.</summary>
    public async Task<StateEntry?> GetEntryAsync(
        string sessionId, string key, long? atRevision = null, CancellationToken cancellation = default)
    {
        var request = new GetStateRequest { SessionId = sessionId, Key = key };
        if (atRevision is { } revision)
        {
            request.AtRevision = revision;
        }
        var answer = await ReadAsync(request, o => Service.GetStateAsync(request, o), cancellation);
        return answer.Entry is null ? null : StateEntry.From(answer.Entry);
    }

    /// <summary>Writes an entry; creates the session if it is missing.</summary>
    public async Task<StateEntry> SetStateAsync(
        string sessionId,
        string key,
        object? value,
        long? ifRevision = null,
        TimeSpan? ttl = null,
        string? requestId = null,
        CancellationToken cancellation = default)
    {
        var request = new SetStateRequest
        {
            SessionId = sessionId,
            Key = key,
            Value = Values.ToMessage(value),
            Ttl = Span(ttl),
            RequestId = RequestId(requestId),
        };
        if (ifRevision is { } revision)
        {
            request.IfRevision = revision;
        }
        var answer = await WriteAsync(request, o => Service.SetStateAsync(request, o), cancellation);
        return StateEntry.From(answer.Entry);
    }

    /// <summary>Deletes an entry; says whether there was one.</summary>
    public async Task<bool> DeleteStateAsync(
        string sessionId,
        string key,
        long? ifRevision = null,
        string? requestId = null,
        CancellationToken cancellation = default)
    {
        var request = new DeleteStateRequest
        {
            SessionId = sessionId,
            Key = key,
            RequestId = RequestId(requestId),
        };
        if (ifRevision is { } revision)
        {
            request.IfRevision = revision;
        }
        var answer = await WriteAsync(request, o => Service.DeleteStateAsync(request, o), cancellation);
        return answer.Deleted;
    }

    /// <summary>Lists the entries of a session by key.</summary>
    public async IAsyncEnumerable<StateEntry> ListStateAsync(
        string sessionId,
        string keyPrefix = "",
        [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var request = new ListStateRequest { SessionId = sessionId, KeyPrefix = keyPrefix };
        do
        {
            var page = await ReadAsync(request, o => Service.ListStateAsync(request, o), cancellation);
            foreach (var entry in page.Entries)
            {
                yield return StateEntry.From(entry);
            }
            request.PageToken = page.NextPageToken;
        }
        while (request.PageToken != "");
    }

    /// <summary>Reads a session with its state; null: there is none.</summary>
    public async Task<StateSession?> GetSessionAsync(
        string sessionId,
        string keyPrefix = "",
        long? atRevision = null,
        CancellationToken cancellation = default)
    {
        var request = new GetSessionRequest { SessionId = sessionId, KeyPrefix = keyPrefix };
        if (atRevision is { } revision)
        {
            request.AtRevision = revision;
        }
        var answer = await ReadAsync(request, o => Service.GetSessionAsync(request, o), cancellation);
        return answer.Session is null ? null : StateSession.From(answer.Session);
    }

    /// <summary>Creates a session, or replaces all of its state and metadata. Gives its revision.</summary>
    public async Task<long> SaveSessionAsync(
        string sessionId,
        IReadOnlyDictionary<string, object?> state,
        IReadOnlyDictionary<string, string>? labels = null,
        long? ifRevision = null,
        TimeSpan? ttl = null,
        string? requestId = null,
        CancellationToken cancellation = default)
    {
        var session = new Session { SessionId = sessionId };
        foreach (var (key, value) in state)
        {
            session.State[key] = Values.ToMessage(value);
        }
        foreach (var (name, label) in labels ?? new Dictionary<string, string>())
        {
            session.Labels[name] = label;
        }
        var request = new SaveSessionRequest
        {
            Session = session,
            Ttl = Span(ttl),
            RequestId = RequestId(requestId),
        };
        if (ifRevision is { } revision)
        {
            request.IfRevision = revision;
        }
        var answer = await WriteAsync(request, o => Service.SaveSessionAsync(request, o), cancellation);
        return answer.Session.Revision;
    }

    /// <summary>Deletes a session and all its entries; says whether there was one.</summary>
    public async Task<bool> DeleteSessionAsync(
        string sessionId, string? requestId = null, CancellationToken cancellation = default)
    {
        var request = new DeleteSessionRequest { SessionId = sessionId, RequestId = RequestId(requestId) };
        var answer = await WriteAsync(request, o => Service.DeleteSessionAsync(request, o), cancellation);
        return answer.Deleted;
    }

    /// <summary>Lists the sessions that match; what the request says about pages is seen to.</summary>
    public async IAsyncEnumerable<StateSession> ListSessionsAsync(
        ListSessionsRequest? filter = null, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var request = filter?.Clone() ?? new ListSessionsRequest();
        do
        {
            var page = await ReadAsync(request, o => Service.ListSessionsAsync(request, o), cancellation);
            foreach (var session in page.Sessions)
            {
                yield return StateSession.From(session);
            }
            request.PageToken = page.NextPageToken;
        }
        while (request.PageToken != "");
    }

    /// <summary>
    /// Makes one atomic write. Sent again, the same commit counts again, unless it has a request id.
    /// </summary>
    public async Task<Committed> CommitAsync(Commit commit, CancellationToken cancellation = default)
    {
        var request = commit.Request.Clone();
        request.RequestId = RequestId(request.RequestId);
        var answer = await WriteAsync(request, o => Service.CommitAsync(request, o), cancellation);
        return new Committed(answer.Revision, answer.Entries.Select(StateEntry.From).ToList());
    }

    /// <summary>Copies a session, as it is or as it was at a revision, to a new one.</summary>
    public async Task ForkSessionAsync(
        string sessionId,
        string newSessionId,
        long? atRevision = null,
        string? requestId = null,
        CancellationToken cancellation = default)
    {
        var request = new ForkSessionRequest
        {
            SessionId = sessionId,
            NewSessionId = newSessionId,
            RequestId = RequestId(requestId),
        };
        if (atRevision is { } revision)
        {
            request.AtRevision = revision;
        }
        await WriteAsync(request, o => Service.ForkSessionAsync(request, o), cancellation);
    }

    /// <summary>
    /// Gives a session the content that it had at a revision, as a new revision, which it gives.
    /// </summary>
    public async Task<long> RestoreSessionAsync(
        string sessionId, long atRevision, string? requestId = null, CancellationToken cancellation = default)
    {
        var request = new RestoreSessionRequest
        {
            SessionId = sessionId,
            AtRevision = atRevision,
            RequestId = RequestId(requestId),
        };
        var answer = await WriteAsync(request, o => Service.RestoreSessionAsync(request, o), cancellation);
        return answer.Session.Revision;
    }

    /// <summary>
    /// Follows a session until it is cancelled: a snapshot first, or after a revision none, then every
    /// commit, in order, without a
    /// gap and nothing twice, over as many connections as it takes.
    /// </summary>
    public async IAsyncEnumerable<WatchMessage> WatchSessionAsync(
        string sessionId,
        long? afterRevision = null,
        [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var request = new WatchSessionRequest { SessionId = sessionId };
        if (afterRevision is { } revision)
        {
            request.AfterRevision = revision;
        }
        Text.Check(request);
        for (var failures = 0; ; )
        {
            using var connection = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            connection.CancelAfter(_calls.Options.Silence);
            using var call = await OpenAsync(request, connection.Token, cancellation).ConfigureAwait(false);
            while (call is not null
                && await NextAsync(call.ResponseStream, connection.Token, cancellation).ConfigureAwait(false))
            {
                failures = 0;
                if (Read(call.ResponseStream.Current) is { } message)
                {
                    // Where to go on after this connection.
                    request.AfterRevision = message.Revision;
                    // However long the caller takes with it.
                    connection.CancelAfter(Timeout.InfiniteTimeSpan);
                    yield return message;
                }
                connection.CancelAfter(_calls.Options.Silence);
            }
            await Task.Delay(_calls.PauseAfter(++failures), cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>A connection of a watch; null: its token could not be had this time.</summary>
    private async Task<AsyncServerStreamingCall<WatchSessionResponse>?> OpenAsync(
        WatchSessionRequest request, CancellationToken connection, CancellationToken cancellation)
    {
        try
        {
            _calls.ThrowIfClosed();
            var silence = _calls.Options.Silence;
            var headers = await _calls.HeadersAsync(silence, cancellation).ConfigureAwait(false);
            return Service.WatchSession(request, headers, cancellationToken: connection);
        }
        catch (WorkflowStateException failure) when (failure.Reason is ErrorReason.StoreUnavailable)
        {
            return null;
        }
        catch (ObjectDisposedException)
        {
            // Closed meanwhile: the next attempt says so.
            return null;
        }
    }

    /// <summary>Whether there is a next message; if not, the connection is lost.</summary>
    private static async Task<bool> NextAsync(
        IAsyncStreamReader<WatchSessionResponse> stream,
        CancellationToken connection,
        CancellationToken cancellation)
    {
        try
        {
            return await stream.MoveNext(connection).ConfigureAwait(false);
        }
        catch (Exception error)
            when (error is RpcException or OperationCanceledException or ObjectDisposedException)
        {
            cancellation.ThrowIfCancellationRequested();
            if (error is RpcException { StatusCode: not StatusCode.Cancelled } rpc
                && Calls.Failure(rpc, write: false) is { Code: not StatusCode.Unavailable } failure)
            {
                throw failure;
            }
            return false;
        }
    }

    private static WatchMessage? Read(WatchSessionResponse message) => message.MessageCase switch
    {
        WatchSessionResponse.MessageOneofCase.Snapshot =>
            new WatchMessage(message.Snapshot.Revision, StateSession.From(message.Snapshot), null),
        WatchSessionResponse.MessageOneofCase.Event =>
            new WatchMessage(message.Event.Revision, null, StateEvent.From(message.Event)),
        WatchSessionResponse.MessageOneofCase.Progress =>
            new WatchMessage(message.Progress.Revision, null, null),
        _ => null,
    };

    private ConfiguredTaskAwaitable<T> ReadAsync<T>(
        IMessage request, Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation)
    {
        Text.Check(request);
        return _calls.UnaryAsync(call, write: false, cancellation).ConfigureAwait(false);
    }

    private ConfiguredTaskAwaitable<T> WriteAsync<T>(
        IMessage request, Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation)
    {
        Text.Check(request);
        return _calls.UnaryAsync(call, write: true, cancellation).ConfigureAwait(false);
    }

    private static string RequestId(string? given) =>
        string.IsNullOrEmpty(given) ? Guid.NewGuid().ToString("N") : given;

    private static Duration? Span(TimeSpan? span) => span is { } given ? Duration.FromTimeSpan(given) : null;
}
