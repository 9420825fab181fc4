using AgenTerra.State.V1;
using Grpc.Core;

namespace AgenTerra.WorkflowState;

/// <summary>
/// What a call of a client that fails throws: a closed reason, and facts for programs. Decide by the
/// reason, not by the text, which is for a person and never holds a stored value.
/// </summary>
public sealed class WorkflowStateException : Exception
{
    internal WorkflowStateException(
        ErrorReason reason,
        StatusCode code,
        string message,
        IReadOnlyDictionary<string, string>? metadata = null,
        IReadOnlyList<FailedCheck>? failedChecks = null,
        Exception? cause = null)
        : base(message, cause)
    {
        Reason = reason;
        Code = code;
        Metadata = metadata ?? new Dictionary<string, string>();
        FailedChecks = failedChecks ?? [];
    }

    /// <summary>What is wrong before anything is sent.</summary>
    internal static WorkflowStateException Invalid(
        string field, string message, ErrorReason reason = ErrorReason.InvalidRequest) => new(
            reason,
            reason is ErrorReason.Unauthenticated ? StatusCode.Unauthenticated : StatusCode.InvalidArgument,
            message,
            new Dictionary<string, string> { ["field"] = field });

    /// <summary>
    /// Why the call failed. One that a newer service has and this client does not know keeps its number.
    /// </summary>
    public ErrorReason Reason { get; }

    /// <summary>The status code that belongs to the reason.</summary>
    public StatusCode Code { get; }

    /// <summary>Facts by name: path, field, key, limit, actual, oldest_revision, current_revision.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Every check that did not hold; empty unless the reason is RevisionMismatch.</summary>
    public IReadOnlyList<FailedCheck> FailedChecks { get; }
}
