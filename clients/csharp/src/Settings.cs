using System.Net.Http;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using AgenTerra.State.V1;
using Grpc.Core;

namespace AgenTerra.WorkflowState;

/// <summary>How a client connects: what it is given, checked, in the words of gRPC.</summary>
internal static class Settings
{
    private const string Expected =
        "expected one such as http://127.0.0.1:7410 or https://state.example.com";

    // What is longer the timers don't take.
    private static readonly TimeSpan Longest = TimeSpan.FromDays(30);

    /// <summary>
    /// The address, if all else that a client is given can be used too. No message repeats the URL: it could
    /// hold a password.
    /// </summary>
    public static Uri Address(string url, WorkflowStateOptions options)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out var address)
            || address.Scheme is not ("http" or "https")
            || address.Host == "")
        {
            throw WorkflowStateException.Invalid("url", $"The URL can't be read: {Expected}.");
        }
        if (address.UserInfo != "")
        {
            throw WorkflowStateException.Invalid(
                "url", "The URL must have no user or password: give Token or Metadata.");
        }
        if (address.PathAndQuery != "/" || address.Fragment != "")
        {
            throw WorkflowStateException.Invalid(
                "url", $"The URL must have nothing after the port: {Expected}.");
        }
        var certificates = options.RootCertificates is not null || options.ClientCertificate is not null;
        if (certificates && address.Scheme is "http")
        {
            throw WorkflowStateException.Invalid("url", "Certificates need an https:// URL.");
        }
        if (options.Attempts < 1)
        {
            throw WorkflowStateException.Invalid("attempts", "Attempts must be 1 or more.");
        }
        CheckSpan(options.Timeout, "timeout");
        CheckSpan(options.Pause, "pause");
        CheckSpan(options.Silence, "silence");
        Headers(options);
        return address;
    }

    /// <summary>The headers of every call, but for the token.</summary>
    public static Metadata Headers(WorkflowStateOptions options)
    {
        var headers = new Metadata();
        foreach (var (name, value) in options.Metadata)
        {
            Add(headers, name, value, "metadata");
        }
        if (options.Namespace is { } tenant)
        {
            Add(headers, "x-workflow-state-namespace", tenant, "namespace");
        }
        return headers;
    }

    /// <summary>What a token is sent as.</summary>
    public static string Authorization(string token)
    {
        if (string.IsNullOrEmpty(token) || !token.All(c => c is > ' ' and <= '~'))
        {
            throw WorkflowStateException.Invalid(
                "token", "A token is visible ASCII, without spaces.", ErrorReason.Unauthenticated);
        }
        return $"Bearer {token}";
    }

    /// <summary>The connection as the options have it.</summary>
    public static SocketsHttpHandler Handler(WorkflowStateOptions options)
    {
        var handler = new SocketsHttpHandler
        {
            EnableMultipleHttp2Connections = true,
            ConnectTimeout = TimeSpan.FromSeconds(5),
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

    private static void Add(Metadata headers, string name, string value, string field)
    {
        if (value is null || value != value.Trim(' ') || !value.All(c => c is >= ' ' and <= '~'))
        {
            throw WorkflowStateException.Invalid(field, $"{field} must be printable ASCII.");
        }
        try
        {
            headers.Add(name, value);
        }
        catch (ArgumentException)
        {
            throw WorkflowStateException.Invalid(
                field, "A name in metadata is of a-z, 0-9, -, _ and ., and does not end in -bin.");
        }
    }

    private static void CheckSpan(TimeSpan span, string field)
    {
        if (span <= TimeSpan.Zero || span > Longest)
        {
            throw WorkflowStateException.Invalid(
                field, $"{field} must be more than 0, and no more than 30 days.");
        }
    }
}
