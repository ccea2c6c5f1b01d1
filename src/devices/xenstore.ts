/**
 * The two store connections of a domain's monitor: the guest's, from its ring, and the backends', as domain 0. Both go on
 * when xend, where the store lives, dies and comes back.
 */
import { StoreClient } from '../store/client.ts';
import { createPipe } from '../store/stream.ts';
import { XenstoreLink, type XenstoreLinkPorts } from './xenstore-link.ts';
import { type XenstoreRingPorts, XenstoreRingStream } from './xenstore-ring.ts';

export interface GuestStoreConnection {
  /** The guest sent the event of its store port. */
  onEvent(): void;
  close(): void;
}

export function connectGuestStore(
  ring: Omit<XenstoreRingPorts, 'restarted'>,
  ports: XenstoreLinkPorts,
): GuestStoreConnection {
  // Attaching can already find that the guest asked for a restart: then the link is new anyway.
  let link: XenstoreLink | undefined;
  const stream = new XenstoreRingStream({ ...ring, restarted: () => link?.restart() });
  link = new XenstoreLink(stream, ports);
  return {
    onEvent: () => stream.onEvent(),
    close: () => link.close(),
  };
}

/** A client that never loses its connection; requests wait while the store is away. */
export function connectBackendStore(ports: XenstoreLinkPorts): { client: StoreClient; close(): void } {
  const [ours, links] = createPipe();
  const link = new XenstoreLink(links, ports);
  const client = new StoreClient(ours);
  return {
    client,
    close: () => {
      client.close();
      link.close();
    },
  };
}
