using System.Collections;
using System.Globalization;
using System.Text;
using AgenTerra.State.V1;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Value = Google.Protobuf.WellKnownTypes.Value;

namespace AgenTerra.WorkflowState;

/// <summary>
/// Values to <c>google.protobuf.Value</c> and back: null, bool, numbers, string, lists and dictionaries
/// with string keys of these,
/// 32 levels deep. What would not come back equal is refused.
/// </summary>
public static class Values
{
    private const long LargestInteger = 1L << 53;
    private const int MaxDepth = 32;

    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    /// <summary>The value as a message. Fails with InvalidValue and its path.</summary>
    public static Value ToMessage(object? value) => ToMessage(value, "$", MaxDepth);

    /// <summary>
    /// The message as a value: a number that is whole and within 2^53 is a long, any other a double; a list
    /// is a
    /// <c>List&lt;object?&gt;</c>, an object a <c>SortedDictionary&lt;string, object?&gt;</c> in ordinal
    /// order.
    /// </summary>
    public static object? FromMessage(Value message) => message.KindCase switch
    {
        Value.KindOneofCase.BoolValue => message.BoolValue,
        Value.KindOneofCase.StringValue => message.StringValue,
        Value.KindOneofCase.NumberValue => FromNumber(message.NumberValue),
        Value.KindOneofCase.ListValue => message.ListValue.Values.Select(FromMessage).ToList(),
        Value.KindOneofCase.StructValue => FromMembers(message.StructValue.Fields),
        _ => null,
    };

    /// <summary>
    /// Whether text has no lone surrogates, in whose place the wire would have U+FFFD.
    /// </summary>
    internal static bool IsWellFormed(string text)
    {
        try
        {
            Strict.GetByteCount(text);
            return true;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }

    internal static SortedDictionary<string, object?> FromMembers(
        IEnumerable<KeyValuePair<string, Value>> members)
    {
        var read = new SortedDictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (key, member) in members)
        {
            read[key] = FromMessage(member);
        }
        return read;
    }

    private static object FromNumber(double number) =>
        Math.Truncate(number) == number && Math.Abs(number) <= LargestInteger
            // Else the two would have one type, double.
            ? (object)(long)number
            : number;

    private static Value ToMessage(object? value, string path, int levels)
    {
        if (levels <= 0)
        {
            throw Refused(path, "is too deep: a value has 32 levels at most, and can't hold itself");
        }
        switch (value)
        {
            case null:
                return Value.ForNull();
            case bool truth:
                return Value.ForBool(truth);
            case string text:
                return Value.ForString(Checked(text, path));
            case float or double:
                return Number(Convert.ToDouble(value, CultureInfo.InvariantCulture), path);
            case sbyte or byte or short or ushort or int or uint or long:
                return Whole(Convert.ToInt64(value, CultureInfo.InvariantCulture), path);
            case ulong large:
                return Whole(large > (ulong)LargestInteger ? long.MaxValue : (long)large, path);
            case IReadOnlyDictionary<string, object?> members:
                return Object(members, path, levels);
            case byte[]:
                throw Refused(path, "is bytes, which would not come back: pass text, such as base64");
            case IDictionary members:
                return Object(Entries(members, path), path, levels);
            // A set has no order to keep.
            case IList items:
                return List(items, path, levels);
            default:
                throw Refused(path, $"is of the type {value.GetType().Name}, which would not come back");
        }
    }

    private static Value Number(double number, string path)
    {
        if (!double.IsFinite(number))
        {
            throw Refused(path, "is not a finite number");
        }
        // Zero has no sign here.
        return Value.ForNumber(number == 0 ? 0 : number);
    }

    private static Value Whole(long number, string path)
    {
        if (number is < -LargestInteger or > LargestInteger)
        {
            throw Refused(path, "is an integer beyond 2^53, which can't be held exactly: pass it as text");
        }
        return Value.ForNumber(number);
    }

    private static Value List(IList items, string path, int levels)
    {
        var list = new ListValue();
        for (var index = 0; index < items.Count; index++)
        {
            list.Values.Add(ToMessage(items[index], $"{path}[{index}]", levels - 1));
        }
        return new Value { ListValue = list };
    }

    private static Value Object(IEnumerable<KeyValuePair<string, object?>> members, string path, int levels)
    {
        var message = new Struct();
        foreach (var (name, member) in members)
        {
            Checked(name, path);
            message.Fields[name] = ToMessage(member, Joined(path, name), levels - 1);
        }
        return new Value { StructValue = message };
    }

    private static IEnumerable<KeyValuePair<string, object?>> Entries(IDictionary members, string path)
    {
        foreach (DictionaryEntry member in members)
        {
            var name = member.Key as string ?? throw Refused(path, "has a key that is not text");
            yield return KeyValuePair.Create(name, member.Value);
        }
    }

    private static string Checked(string text, string path) => IsWellFormed(text)
        ? text
        : throw Refused(path, "is not well-formed Unicode: it has a lone surrogate");

    private static string Joined(string path, string name)
    {
        var plain = name.Length is > 0 and <= 100
            && !char.IsAsciiDigit(name[0])
            && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '$');
        if (plain)
        {
            return $"{path}.{name}";
        }
        var shown = name.Length <= 100 ? name : name[..100] + "…";
        return $"{path}[\"{shown.Replace("\\", "\\\\").Replace("\"", "\\\"")}\"]";
    }

    private static WorkflowStateException Refused(string path, string what) => new(
        ErrorReason.InvalidValue,
        StatusCode.InvalidArgument,
        $"The value at {path} {what}.",
        new Dictionary<string, string> { ["path"] = path });
}
