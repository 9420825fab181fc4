/** What Prometheus reads of a text, strictly: anything that is not of its format fails. */

/** One line: a name with labels, and what it shows. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric with its samples. */
export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: Sample[];
}

/** The metrics of a text in Prometheus' format 0.0.4, by name. */
export function parsePrometheus(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith("\n")) throw new Error("The last line does not end.");
  const families = new Map<string, Family>();
  let help: readonly [string, string] | undefined;
  let current: readonly [string, Family] | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, helped, words] = /^# HELP ([a-zA-Z_:][\w:]*) (.+)$/.exec(line) ?? [];
    if (helped !== undefined && words !== undefined) {
      if (families.has(helped)) throw new Error(`${helped} is there twice.`);
      help = [helped, words];
      continue;
    }
    const [, typed, type] = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (typed !== undefined && type !== undefined) {
      if (help?.[0] !== typed) throw new Error(`${typed} has no help.`);
      current = [typed, { type, help: help[1], samples: [] }];
      families.set(...current);
      continue;
    }
    const sample = sampleOf(line);
    const suffix = current?.[1].type === "histogram" ? "(?:_bucket|_sum|_count)" : "";
    if (current === undefined || !new RegExp(`^${current[0]}${suffix}$`).test(sample.name)) {
      throw new Error(`This line is of no metric: ${line}`);
    }
    current[1].samples.push(sample);
  }
  for (const [name, family] of families) if (family.type === "histogram") checkHistogram(name, family);
  return families;
}

function sampleOf(line: string): Sample {
  const [, name, inBraces = "", text] =
    /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$/.exec(line) ?? [];
  const value = text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text);
  if (name === undefined || Number.isNaN(value)) throw new Error(`This line can't be read: ${line}`);
  const labels = [...inBraces.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
    ([, label = "", shown = ""]) =>
      [label, shown.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char))] as const,
  );
  if (new Set(labels.map(([label]) => label)).size !== labels.length)
    throw new Error(`A label twice: ${line}`);
  return { name, labels: Object.fromEntries(labels), value };
}

/** Buckets rise, and the last of them holds all. */
function checkHistogram(name: string, { samples }: Family): void {
  const series = new Map<string, number[]>();
  for (const { name: each, labels, value } of samples) {
    if (each === `${name}_sum`) continue;
    const { le, ...others } = labels;
    if ((each === `${name}_bucket`) !== (le !== undefined)) throw new Error(`${each} has a wrong le.`);
    const key = JSON.stringify(others);
    series.set(key, [...(series.get(key) ?? []), value]);
  }
  for (const counts of series.values()) {
    const rising = counts.every((count, i) => i === 0 || count >= (counts[i - 1] ?? 0));
    if (!rising || counts.at(-1) !== counts.at(-2))
      throw new Error(`${name} has buckets that can't be: ${counts}`);
  }
}
