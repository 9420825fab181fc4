// `cart.sh [URL]`: a workflow that stops and goes on, as samples/cart.ts is in TypeScript.
//
// Each of its three runs is a process of its own, with its own connection; between them the cart lives in
// the service.

using System.Collections;
using System.Diagnostics;
using System.Globalization;
using AgenTerra.WorkflowState;

const string Cart = "shopping-cart";
const string Copy = Cart + "-copy";

Func<WorkflowStateClient, Task>[] runs = [Fill, Add, Check];

if (args is ["--run", var number, var service])
{
    Console.WriteLine($"run {number}, process {Environment.ProcessId}");
    using var client = new WorkflowStateClient(service);
    await runs[int.Parse(number, CultureInfo.InvariantCulture) - 1](client);
    return;
}
using var server = args.Length == 0 ? StartServer() : null;
try
{
    // "listening on http://127.0.0.1:PORT"
    await RunAll(server?.StandardOutput.ReadLine()?.Split(' ')[^1] ?? args[0]);
}
finally
{
    server?.Kill();
}

async Task Fill(WorkflowStateClient client)
{
    // What a run of this sample that was interrupted may have left.
    await client.DeleteSessionAsync(Cart);
    await client.DeleteSessionAsync(Copy);

    await client.SetStateAsync(Cart, "shopping_list", new[] { "milk", "bread" });
    await client.SetStateAsync(Cart, "total_items", 2);

    var session = await client.GetSessionAsync(Cart);
    Console.WriteLine($"  created      {ShownTime(session?.CreateTime)}");
}

async Task Add(WorkflowStateClient client)
{
    await client.ForkSessionAsync(Cart, Copy);

    // Read, change, set: fine as long as nobody else writes to the cart meanwhile.
    var items = await client.GetStateAsync(Cart, "shopping_list") as List<object?> ?? [];
    Console.WriteLine($"  found        {string.Join(", ", items)}");
    items.Add("eggs");
    await client.SetStateAsync(Cart, "shopping_list", items);
    await client.SetStateAsync(Cart, "total_items", items.Count);
    Console.WriteLine($"  read and set {Shown(await StateOf(client, Cart))}");

    // The safe way, here on the copy: one atomic commit that the service computes, whoever else writes.
    await client.CommitAsync(new Commit(Copy).Append("shopping_list", ["eggs"]).Increment("total_items"));
    Console.WriteLine($"  one commit   {Shown(await StateOf(client, Copy))}");
    await client.DeleteSessionAsync(Copy);
}

async Task Check(WorkflowStateClient client)
{
    var state = await StateOf(client, Cart);
    if (Shown(state) != "{ shopping_list: [ 'milk', 'bread', 'eggs' ], total_items: 3 }")
    {
        throw new InvalidOperationException("The cart is not what the runs before have left.");
    }
    Console.WriteLine($"  list         {string.Join(", ", (List<object?>)state["shopping_list"]!)}");
    Console.WriteLine($"  total        {state["total_items"]}");
    var session = await client.GetSessionAsync(Cart);
    Console.WriteLine($"  last updated {ShownTime(session?.UpdateTime)}");
}

async Task RunAll(string url)
{
    for (var run = 1; run <= runs.Length; run++)
    {
        using var process = Process.Start(Environment.ProcessPath!, ["--run", $"{run}", url]);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"Run {run} has failed.");
        }
    }
    using var client = new WorkflowStateClient(url);
    var ids = new List<object?>();
    await foreach (var session in client.ListSessionsAsync())
    {
        ids.Add(session.SessionId);
    }
    Console.WriteLine($"sessions       {Shown(ids)}");
    Console.WriteLine($"deleted        {Shown(await client.DeleteSessionAsync(Cart))}");
}

async Task<IReadOnlyDictionary<string, object?>> StateOf(WorkflowStateClient client, string sessionId) =>
    (await client.GetSessionAsync(sessionId))?.State ?? new Dictionary<string, object?>();

// A value as the sample in TypeScript shows it.
string Shown(object? value) => value switch
{
    IReadOnlyDictionary<string, object?> members =>
        "{ " + string.Join(", ", members.Select(member => $"{member.Key}: {Shown(member.Value)}")) + " }",
    string text => $"'{text}'",
    IEnumerable items => "[ " + string.Join(", ", items.Cast<object?>().Select(Shown)) + " ]",
    bool truth => truth ? "true" : "false",
    _ => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "null",
};

string ShownTime(DateTimeOffset? time) =>
    time?.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture) ?? "never";

Process StartServer()
{
    var checkout = Environment.GetEnvironmentVariable("CHECKOUT") ?? Directory.GetCurrentDirectory();
    return Process.Start(new ProcessStartInfo
    {
        FileName = Path.Combine(checkout, "node_modules", ".bin", "node"),
        ArgumentList = { "src/cli.ts", "serve", "--listen", "127.0.0.1:0" },
        WorkingDirectory = checkout,
        RedirectStandardOutput = true,
    })!;
}
