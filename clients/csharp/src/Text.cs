using System.Collections;
using AgenTerra.State.V1;
using Google.Protobuf;
using Value = Google.Protobuf.WellKnownTypes.Value;

namespace AgenTerra.WorkflowState;

/// <summary>The text of requests: ids, keys, labels and the like.</summary>
internal static class Text
{
    /// <summary>
    /// Refuses text that would arrive as another. Values are not looked into: that is done where they are
    /// made.
    /// </summary>
    public static void Check(IMessage request)
    {
        foreach (var field in request.Descriptor.Fields.InFieldNumberOrder())
        {
            Check(field.Name, field.Accessor.GetValue(request));
        }
    }

    private static void Check(string field, object? found)
    {
        switch (found)
        {
            case string text when !Values.IsWellFormed(text):
                throw WorkflowStateException.Invalid(
                    field, $"{field} is not well-formed Unicode: it has a lone surrogate.", ReasonOf(field));
            case string or Value:
                break;
            case IMessage message:
                Check(message);
                break;
            case IDictionary members:
                foreach (DictionaryEntry member in members)
                {
                    Check(field, member.Key);
                    Check(field, member.Value);
                }
                break;
            case IList items:
                foreach (var item in items)
                {
                    Check(field, item);
                }
                break;
        }
    }

    private static ErrorReason ReasonOf(string field) => field switch
    {
        "session_id" or "new_session_id" => ErrorReason.InvalidSessionId,
        "key" or "state" => ErrorReason.InvalidKey,
        _ => ErrorReason.InvalidRequest,
    };
}
