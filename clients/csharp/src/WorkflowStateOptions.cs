using System.Security.Cryptography.X509Certificates;

namespace AgenTerra.WorkflowState;

/// <summary>How a client connects, and what its calls carry.</summary>
public sealed class WorkflowStateOptions
{
    /// <summary>How long a call may take with all its attempts.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often a call that fails with UNAVAILABLE is tried in all.</summary>
    public int Attempts { get; init; } = 5;

    /// <summary>
    /// The longest pause before the second attempt; it doubles with each, up to two seconds.
    /// </summary>
    public TimeSpan Pause { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// Gives the token of each attempt, sent as <c>authorization: Bearer</c>. Use it with https only: over
    /// http everybody on the way can read it.
    /// </summary>
    public Func<CancellationToken, ValueTask<string>>? Token { get; init; }

    /// <summary>Which of the caller's namespaces to work in.</summary>
    public string? Namespace { get; init; }

    /// <summary>Further headers of every call.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>
    /// For https: who may have signed the service's certificate; null: who the system trusts.
    /// </summary>
    public X509Certificate2Collection? RootCertificates { get; init; }

    /// <summary>For mutual TLS: the client's certificate with its key.</summary>
    public X509Certificate2? ClientCertificate { get; init; }

    /// <summary>A watch on a session that hears nothing for so long connects anew.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(45);
}
