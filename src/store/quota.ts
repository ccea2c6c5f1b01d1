/**
 * Limits on what one unprivileged domain may take of the store. Privileged clients have none. pv-abi 7.3.
 */
export interface Quota {
  /** Nodes that the domain owns. */
  readonly nodes: number;
  /** Parts of the path of a node that the domain creates: the work and the journal of one request grow with its square. */
  readonly depth: number;
  readonly watches: number;
  readonly valueBytes: number;
  /** Open at once, per connection. */
  readonly transactions: number;
  /** Nodes that one transaction reads or changes. */
  readonly transactionNodes: number;
  readonly permissionsPerNode: number;
  /** Bytes of watch events that wait for a client which does not read them; beyond it the connection is dropped. */
  readonly queuedBytes: number;
}

export const DEFAULT_QUOTA: Quota = {
  nodes: 1000,
  depth: 64,
  watches: 128,
  valueBytes: 2048,
  transactions: 10,
  transactionNodes: 1024,
  permissionsPerNode: 5,
  queuedBytes: 1 << 20,
};

/** A privileged client that does not read is broken; memory has an end for it, too. */
export const PRIVILEGED_QUEUED_BYTES = 64 << 20;
