/**
 * xenstored: the store on Unix sockets. Who a client is follows from the socket that it connected to, so each domain has a
 * socket of its own; the privileged one is what Debian's xenstore tools look for (XENSTORED_PATH). Access to a socket is
 * guarded by its mode and by its folder's.
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import path from 'node:path';
import { connectLocally, type StoreClient } from '../store/client.ts';
import { serveConnection } from '../store/connection.ts';
import type { Identity } from '../store/permissions.ts';
import type { Quota } from '../store/quota.ts';
import { Store } from '../store/store.ts';
import { JournalFile } from './store-journal.ts';
import { SocketStream } from './store-socket.ts';

export interface XenstoredOptions {
  /** The journal's file. Without it the store begins empty and lives as long as this process. */
  readonly journal?: string;
  readonly quota?: Quota;
  /** One line for the log. */
  readonly log?: (text: string) => void;
}

export class Xenstored {
  readonly store: Store;
  readonly #journal: JournalFile | undefined;
  readonly #servers = new Map<string, Server>();

  /** Throws one clear line when the journal cannot be read. */
  constructor(options: XenstoredOptions = {}) {
    const log = options.log ?? (() => {});
    if (options.journal !== undefined) {
      mkdirSync(path.dirname(options.journal), { recursive: true, mode: 0o700 });
      this.#journal = new JournalFile(options.journal, log);
    }
    try {
      this.store = new Store({ quota: options.quota, journal: this.#journal });
    } catch (error) {
      throw new Error(`${options.journal}: ${error instanceof Error ? error.message : error}`);
    }
    if (this.store.lostBytes > 0) {
      log(`${options.journal}: the last ${this.store.lostBytes} bytes were no whole record and were dropped`);
    }
  }

  /** A client inside this process. */
  client(): StoreClient {
    return connectLocally(this.store);
  }

  /** Whoever connects to `socketPath` is `who`. A socket that an earlier process left there is replaced. */
  listen(socketPath: string, who: Identity): Promise<void> {
    const server = createServer((socket) => {
      serveConnection(this.store, who, new SocketStream(socket));
    });
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject(new Error(`${socketPath}: cannot listen: ${error.message}`)));
      rmSync(socketPath, { force: true });
      server.listen(socketPath, () => {
        chmodSync(socketPath, 0o600);
        this.#servers.set(socketPath, server);
        resolve();
      });
    });
  }

  /** No new clients on this socket; those that are connected stay (`Store.release` ends a domain's). */
  unlisten(socketPath: string): void {
    // Closing removes the socket's file as well.
    this.#servers.get(socketPath)?.close();
    this.#servers.delete(socketPath);
  }

  /** Ends everything; what was committed is kept. */
  close(): void {
    for (const socketPath of [...this.#servers.keys()]) this.unlisten(socketPath);
    for (const connection of [...this.store.connections]) connection.drop();
    this.#journal?.close();
  }
}
