/** Waits until something is there, and gives it. A test's own time limit ends the waiting. */
export async function until<T>(look: () => T | null | undefined | Promise<T | null | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
