/** The store's home in this process: xenstored on its sockets, and xend's own use of it. */
import path from 'node:path';
import { backendStoreSocket, guestStoreSocket, type Paths, storeSocket } from '../host/paths.ts';
import { Xenstored } from '../host/xenstored.ts';
import { StoreError } from '../store/client.ts';
import { permissions } from '../store/permissions.ts';
import { type DomainStore, treeRoots } from './domain-store.ts';

/** INTRODUCE wants a frame and a port; the guest's ring is the monitor's affair, so these name none. */
const NO_FRAME = 0;
const NO_PORT = 0;

export async function openStoreHome(paths: Paths, log: (text: string) => void): Promise<DomainStore> {
  const xenstored = new Xenstored({ journal: path.join(paths.lib, 'xenstored', 'journal'), log });
  await xenstored.listen(storeSocket(paths), { domid: 0, privileged: true });
  const client = xenstored.client();
  const sockets = new Map<number, string[]>();

  const remove: DomainStore['remove'] = async (roots) => {
    for (const root of roots) await client.remove(root);
  };
  const children = async (dir: string): Promise<string[]> => (await client.list(dir)) ?? [];

  return {
    write: (entries) =>
      client.transaction(async (view) => {
        for (const { path: node, value, perms } of entries) {
          await view.write(node, value);
          await view.setPermissions(node, permissions(perms));
        }
      }),
    remove,
    read: (node) => client.read(node),
    async waitFor(node, wanted, timeoutMs, signal) {
      const wait = client.waitFor(node, wanted);
      const timer = setTimeout(wait.cancel, timeoutMs);
      signal.addEventListener('abort', wait.cancel);
      try {
        return await wait.value;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof StoreError && error.code === 'cancelled') return client.read(node);
        throw error;
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', wait.cancel);
      }
    },
    async introduce(domid, runDir) {
      if (!sockets.has(domid)) {
        const [guest, backend] = [guestStoreSocket(runDir), backendStoreSocket(runDir)];
        sockets.set(domid, [guest, backend]);
        await xenstored.listen(guest, { domid, privileged: false });
        await xenstored.listen(backend, { domid: 0, privileged: true, onlyFor: domid });
      }
      await client.introduce(domid, NO_FRAME, NO_PORT);
    },
    async release(domid) {
      for (const socket of sockets.get(domid) ?? []) xenstored.unlisten(socket);
      if (sockets.delete(domid)) await client.release(domid).catch(() => {});
    },
    async keepOnly(domains) {
      const known = new Set(domains.map(({ domid }) => String(domid)));
      const uuids = new Set(domains.map(({ uuid }) => uuid));
      for (const domid of await children('/local/domain')) {
        if (domid !== '0' && !known.has(domid)) await remove(treeRoots(Number(domid), ''));
      }
      for (const uuid of await children('/vm')) if (!uuids.has(uuid)) await client.remove(`/vm/${uuid}`);
    },
    async close() {
      client.close();
      xenstored.close();
    },
  };
}
