/** A node as lists of rows have it: what makes a device or a domain in the store is written down as such a list. */
import type { StoreView } from './client.ts';
import { permissions } from './permissions.ts';

export interface Entry {
  readonly path: string;
  readonly value: string;
  /** As the store's tools write them: owner first, e.g. n0,r5. */
  readonly perms: string;
}

/** Make these nodes: inside a transaction, all or none. */
export async function writeEntries(view: StoreView, entries: readonly Entry[]): Promise<void> {
  for (const { path, value, perms } of entries) {
    await view.write(path, value);
    await view.setPermissions(path, permissions(perms));
  }
}
