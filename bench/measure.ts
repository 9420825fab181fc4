/** Runs something for a while and says how often it ran. */

/** A value as workflows keep them: about 150 bytes encoded. */
export const VALUE: { readonly [name: string]: string | number | readonly string[] } = {
  name: "milk",
  count: 2,
  tags: ["fresh", "dairy"],
  note: "x".repeat(90),
};

/**
 * Prints how many operations a second `run` does, after a warm-up of a tenth of the time.
 * @param perRun operations that one run does
 */
export async function measure(
  label: string,
  ms: number,
  perRun: number,
  run: (i: number) => unknown,
): Promise<number> {
  let i = 0;
  const during = async (duration: number): Promise<number> => {
    const start = performance.now();
    const first = i;
    // The clock is read once in a while, so that it doesn't count.
    do for (let n = 0; n < 16; n++) await run(i++);
    while (performance.now() - start < duration);
    return ((i - first) * perRun * 1_000) / (performance.now() - start);
  };
  await during(ms / 10);
  const perSecond = await during(ms);
  console.log(`  ${label.padEnd(58)} ${Math.round(perSecond).toLocaleString("en").padStart(12)}`);
  return perSecond;
}
