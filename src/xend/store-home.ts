/** The store's home in this process. */
import type { DomainStore, Entry } from './domain-store.ts';

export function openStoreHome(): DomainStore {
  const tree = new Map<string, Entry>();
  return {
    async write(entries) {
      for (const entry of entries) tree.set(entry.path, entry);
    },
    async remove(paths) {
      for (const key of [...tree.keys()]) {
        if (paths.some((path) => key === path || key.startsWith(`${path}/`))) tree.delete(key);
      }
    },
    read: async (path) => tree.get(path)?.value,
    async introduce() {},
    async release() {},
    async close() {},
  };
}
