using System.Net.Http;
using AgenTerra.State.V1;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Grpc.Net.Client;

namespace AgenTerra.WorkflowState;

/// <summary>Calls to the service: deadlines, retries, and what failed as the client's exception.</summary>
internal sealed class Calls : IDisposable
{
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    private readonly GrpcChannel _channel;
    private volatile bool _closed;

    public Calls(string url, WorkflowStateOptions options)
    {
        Options = options;
        _channel = GrpcChannel.ForAddress(Settings.Address(url, options), new GrpcChannelOptions
        {
            HttpHandler = Settings.Handler(options),
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 64 << 20,
            MaxSendMessageSize = null,
        });
        Service = new WorkflowStateService.WorkflowStateServiceClient(_channel);
    }

    public WorkflowStateOptions Options { get; }

    public WorkflowStateService.WorkflowStateServiceClient Service { get; }

    public void Dispose()
    {
        _closed = true;
        _channel.Dispose();
    }

    /// <summary>For what goes on by itself: fails if the client was disposed.</summary>
    public void ThrowIfClosed()
    {
        if (_closed)
        {
            throw Closed(ErrorReason.ShuttingDown);
        }
    }

    /// <summary>Makes a call, and again while it fails with UNAVAILABLE and there is time.</summary>
    public async Task<TResponse> UnaryAsync<TResponse>(
        Func<CallOptions, AsyncUnaryCall<TResponse>> call, bool write, CancellationToken cancellation)
    {
        var deadline = DateTime.UtcNow + Options.Timeout;
        var unknown = false;
        for (var attempt = 1; ; attempt++)
        {
            WorkflowStateException failure;
            try
            {
                var left = deadline - DateTime.UtcNow;
                var headers = await HeadersAsync(left, cancellation).ConfigureAwait(false);
                if (DateTime.UtcNow >= deadline)
                {
                    throw Overdue();
                }
                using var running = call(new CallOptions(headers, deadline, cancellation));
                return await running.ResponseAsync.ConfigureAwait(false);
            }
            catch (WorkflowStateException error)
            {
                // There is no token, or no time.
                failure = error;
            }
            catch (ObjectDisposedException) when (_closed)
            {
                failure = Closed(ErrorReason.StoreUnavailable);
            }
            catch (RpcException error) when (!cancellation.IsCancellationRequested)
            {
                failure = Failure(error, write);
            }
            catch (RpcException error)
            {
                throw new OperationCanceledException("The call was cancelled.", error, cancellation);
            }
            unknown |= write && MayBeDone(failure);
            var pause = PauseAfter(attempt);
            var over = _closed || attempt >= Options.Attempts || DateTime.UtcNow + pause >= deadline;
            if (over || failure.Code is not StatusCode.Unavailable)
            {
                throw unknown ? StillUnknown(failure) : failure;
            }
            await Task.Delay(pause, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>What a call carries. A token that can't be had in time is StoreUnavailable.</summary>
    public async ValueTask<Metadata> HeadersAsync(TimeSpan left, CancellationToken cancellation)
    {
        var headers = Settings.Headers(Options);
        if (Options.Token is { } source)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            limit.CancelAfter(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            string token;
            try
            {
                // Nor is a function waited for that does not look at its cancellation.
                token = await source(limit.Token).AsTask().WaitAsync(limit.Token).ConfigureAwait(false);
            }
            catch (Exception error) when (error is not WorkflowStateException)
            {
                cancellation.ThrowIfCancellationRequested();
                throw new WorkflowStateException(
                    ErrorReason.StoreUnavailable,
                    StatusCode.Unavailable,
                    "The token of the call could not be had.",
                    cause: error);
            }
            headers.Add("authorization", Settings.Authorization(token));
        }
        return headers;
    }

    /// <summary>How long to wait after so many attempts: exponential, with a random half.</summary>
    public TimeSpan PauseAfter(int attempt)
    {
        var growing = Options.Pause.Ticks * Math.Pow(2, Math.Min(attempt - 1, 30));
        var longest = Math.Min(LongestPause.Ticks, growing);
        return TimeSpan.FromTicks((long)(longest * (0.5 + (Random.Shared.NextDouble() / 2))));
    }

    /// <summary>
    /// What gRPC says, as the client's exception: by the detail in the status, never by its text.
    /// </summary>
    public static WorkflowStateException Failure(RpcException error, bool write)
    {
        if (Detail(error) is { } detail)
        {
            return new WorkflowStateException(
                detail.Reason,
                error.StatusCode,
                error.Status.Detail,
                new Dictionary<string, string>(detail.Metadata),
                detail.FailedChecks.ToList(),
                error);
        }
        WorkflowStateException Refused(ErrorReason reason) =>
            new(reason, error.StatusCode, error.Status.Detail, cause: error);
        return error.StatusCode switch
        {
            StatusCode.InvalidArgument => Refused(ErrorReason.InvalidRequest),
            StatusCode.ResourceExhausted => Refused(ErrorReason.RequestTooLarge),
            StatusCode.Unauthenticated => Refused(ErrorReason.Unauthenticated),
            StatusCode.PermissionDenied => Refused(ErrorReason.PermissionDenied),
            StatusCode.Unimplemented or StatusCode.NotFound => new(
                ErrorReason.InvalidRequest,
                StatusCode.InvalidArgument,
                "There is no such call at this address: check the URL, and that the service is not older "
                    + "than this client.",
                cause: error),
            _ when write && WasSent(error) => Unknown(error),
            _ => new(
                ErrorReason.StoreUnavailable,
                StatusCode.Unavailable,
                "The service can't be reached or did not answer; retry later.",
                cause: error),
        };
    }

    private static WorkflowStateException Closed(ErrorReason reason) =>
        new(reason, StatusCode.Unavailable, "This client was closed.");

    private static WorkflowStateException Overdue() => new(
        ErrorReason.StoreUnavailable,
        StatusCode.Unavailable,
        "The call's time ran out before it could be sent.");

    private static WorkflowStateException Unknown(Exception cause) => new(
        ErrorReason.OutcomeUnknown,
        StatusCode.Unavailable,
        "The write may or may not have happened; retry it with the same request id.",
        cause: cause);

    /// <summary>
    /// Whether a write that failed so may have been done; a reason that is not known here says nothing of
    /// that.
    /// </summary>
    private static bool MayBeDone(WorkflowStateException failure) =>
        failure.Reason is ErrorReason.OutcomeUnknown
        || (failure.Code is StatusCode.Unavailable && !System.Enum.IsDefined(failure.Reason));

    /// <summary>The failure of a write of which an earlier attempt may have been done.</summary>
    private static WorkflowStateException StillUnknown(WorkflowStateException failure)
    {
        // A proxy has these codes for statuses of its own.
        var ofAProxy = failure.InnerException is RpcException
        {
            StatusCode: StatusCode.Unimplemented or StatusCode.NotFound or StatusCode.ResourceExhausted,
        } status && Detail(status) is null;
        // These are decided before the service looks at a request id: they don't say how an earlier
        // attempt ended.
        var says = failure.Code is not StatusCode.Unavailable
            && failure.Reason is not ErrorReason.Unauthenticated
            && failure.Reason is not ErrorReason.PermissionDenied
            && failure.Reason is not ErrorReason.RateLimited
            && !ofAProxy;
        return says || failure.Reason is ErrorReason.OutcomeUnknown ? failure : Unknown(failure);
    }

    /// <summary>
    /// Whether a call may have reached the service: not if there was no connection to send it on.
    /// </summary>
    private static bool WasSent(RpcException error) => error.Status.DebugException switch
    {
        HttpRequestException failure => failure.HttpRequestError
            is not HttpRequestError.ConnectionError
            and not HttpRequestError.NameResolutionError
            and not HttpRequestError.SecureConnectionError,
        // How the time for a connection runs out. An HttpClient's time for a whole call would run out so, too:
        // this is right only because the channel is made with an HttpHandler.
        OperationCanceledException { InnerException: TimeoutException } => false,
        _ => true,
    };

    /// <summary>The ErrorDetail among the details of a status, a google.rpc.Status in the trailers.</summary>
    private static ErrorDetail? Detail(RpcException error)
    {
        const uint details = (3 << 3) | 2;
        if (error.Trailers.GetValueBytes("grpc-status-details-bin") is not { } bytes)
        {
            return null;
        }
        try
        {
            var input = new CodedInputStream(bytes);
            for (var tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
            {
                if (tag != details)
                {
                    input.SkipLastField();
                }
                else if (Any.Parser.ParseFrom(input.ReadBytes()).TryUnpack<ErrorDetail>(out var detail))
                {
                    return detail;
                }
            }
        }
        catch (InvalidProtocolBufferException)
        {
            // As if there were none.
        }
        return null;
    }
}
