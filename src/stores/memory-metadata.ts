/** What the metadata of sessions takes in the memory store. */
import type { Metadata } from "./metadata.ts";

/** Bytes that metadata and a label take in the heap beside their texts, as measured on Node 26. */
const METADATA_BYTES = 160;
const LABEL_BYTES = 60;

/**
 * Bytes that metadata takes where another one is held anyway: texts that both have count once. A commit that leaves the
 * metadata as it is leaves the object as it is, and costs a comparison.
 */
export function bytesBeside(other: Metadata | undefined, metadata: Metadata | undefined): number {
  if (metadata === undefined || metadata === other) return 0;
  const { labels, workflowId, userId } = metadata;
  const shared = labels === other?.labels && workflowId === other.workflowId && userId === other.userId;
  return METADATA_BYTES + (shared ? 0 : textBytes(metadata));
}

function textBytes({ labels, workflowId, userId, forkedFrom }: Metadata): number {
  let units = (workflowId?.length ?? 0) + (userId?.length ?? 0) + (forkedFrom?.sessionId.length ?? 0);
  let bytes = 0;
  for (const name of Object.keys(labels)) {
    units += name.length + (labels[name] as string).length;
    bytes += LABEL_BYTES;
  }
  return bytes + 2 * units;
}
