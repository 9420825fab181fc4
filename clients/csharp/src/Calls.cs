using System.Net.Http;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
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

    public Calls(string url, WorkflowStateOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Attempts, 1);
        Options = options;
        _channel = GrpcChannel.ForAddress(url, new GrpcChannelOptions
        {
            HttpHandler = Handler(options),
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 64 << 20,
            MaxSendMessageSize = null,
        });
        Service = new WorkflowStateService.WorkflowStateServiceClient(_channel);
    }

    public WorkflowStateOptions Options { get; }

    public WorkflowStateService.WorkflowStateServiceClient Service { get; }

    public void Dispose() => _channel.Dispose();

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
                var headers = await HeadersAsync(cancellation).ConfigureAwait(false);
                using var running = call(new CallOptions(headers, deadline, cancellation));
                return await running.ResponseAsync.ConfigureAwait(false);
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
            var over = attempt >= Options.Attempts || DateTime.UtcNow + pause >= deadline;
            if (over || failure.Code is not StatusCode.Unavailable)
            {
                throw unknown ? StillUnknown(failure) : failure;
            }
            await Task.Delay(pause, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>What a call carries.</summary>
    public async ValueTask<Metadata> HeadersAsync(CancellationToken cancellation)
    {
        var headers = new Metadata();
        foreach (var (name, value) in Options.Metadata)
        {
            headers.Add(name, value);
        }
        if (Options.Namespace is { } tenant)
        {
            headers.Add("x-workflow-state-namespace", tenant);
        }
        if (Options.Token is { } token)
        {
            headers.Add("authorization", $"Bearer {await token(cancellation).ConfigureAwait(false)}");
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
        // These are decided before the service looks at a request id: they don't say how an earlier
        // attempt ended.
        var says = failure.Code is not StatusCode.Unavailable
            && failure.Reason is not ErrorReason.Unauthenticated
            && failure.Reason is not ErrorReason.PermissionDenied
            && failure.Reason is not ErrorReason.RateLimited;
        return says || failure.Reason is ErrorReason.OutcomeUnknown ? failure : Unknown(failure);
    }

    /// <summary>
    /// Whether a call may have reached the service: not if there was no connection to send it on.
    /// </summary>
    private static bool WasSent(RpcException error) => error.Status.DebugException is not HttpRequestException
    {
        HttpRequestError: HttpRequestError.ConnectionError
            or HttpRequestError.NameResolutionError
            or HttpRequestError.SecureConnectionError,
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

    private static SocketsHttpHandler Handler(WorkflowStateOptions options)
    {
        var handler = new SocketsHttpHandler
        {
            EnableMultipleHttp2Connections = true,
            // A dead connection is found by a ping, also while only a watch is open.
            KeepAlivePingDelay = TimeSpan.FromSeconds(30),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
            // In KiB: an error names every check that failed, in trailers.
            MaxResponseHeadersLength = 4096,
        };
        if (options.ClientCertificate is { } certificate)
        {
            handler.SslOptions.ClientCertificates = new X509CertificateCollection { certificate };
        }
        if (options.RootCertificates is { } roots)
        {
            handler.SslOptions.CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
            };
            handler.SslOptions.CertificateChainPolicy.CustomTrustStore.AddRange(roots);
        }
        return handler;
    }
}
