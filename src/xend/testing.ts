/** For tests: a xend of its own in this process, in a temporary folder, whose domains run the fake machine. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DomainConfig } from '../config/domain-config.ts';
import { openConsole as attachTo } from '../host/console-link.ts';
import { apiSocket, findPaths, type Paths } from '../host/paths.ts';
import { XendClient } from '../sdk/client.ts';
import { type Daemon, type DaemonOptions, startDaemon } from './daemon.ts';

export const FAKE_MACHINE = fileURLToPath(new URL('../monitor/fake-machine.ts', import.meta.url));

export interface TestHome {
  readonly dir: string;
  readonly paths: Paths;
  /** A file that the fake machine takes for a kernel, one that it does not, and one that it never finishes with. */
  readonly kernel: string;
  readonly badKernel: string;
  readonly endlessKernel: string;
  readonly disk: string;
  config(name: string, more?: Partial<DomainConfig>): DomainConfig;
  remove(): void;
}

export function makeHome(): TestHome {
  process.env.DOMUS_MACHINE = FAKE_MACHINE;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
  const file = (name: string, text: string) => {
    writeFileSync(path.join(dir, name), text);
    return path.join(dir, name);
  };
  const kernel = file('kernel', 'good');
  const disk = file('disk', '');
  truncateSync(disk, 1 << 20);
  return {
    dir,
    paths: findPaths({ DOMUS_HOME: path.join(dir, 'home') }),
    kernel,
    badKernel: file('bad', 'bad'),
    endlessKernel: file('endless', 'endless'),
    disk,
    config: (name, more = {}) => ({
      name,
      kernel,
      memoryMiB: 32,
      maxmemMiB: 32,
      vcpus: 1,
      disks: [],
      vifs: [],
      onPoweroff: 'destroy',
      onReboot: 'restart',
      onCrash: 'destroy',
      ...more,
    }),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

export interface TestXend {
  readonly daemon: Daemon;
  readonly client: XendClient;
  /** Destroys all domains and stops. */
  end(): Promise<void>;
}

export async function startXend({ paths }: TestHome, options?: DaemonOptions): Promise<TestXend> {
  const daemon = await startDaemon(paths, options);
  const client = new XendClient(apiSocket(paths));
  return {
    daemon,
    client,
    async end() {
      for (const { domid, uuid } of await client.call('GET /domains', {})) {
        if (domid !== 0) await client.call('POST /domains/:name/destroy', { name: uuid });
      }
      client.close();
      await daemon.stop();
    },
  };
}

/** A person at a domain's console. */
export async function openConsole(socketPath: string) {
  const { socket } = await attachTo(socketPath, { mode: 'write', who: 'a test' });
  let seen = '';
  let ended = false;
  let waiters: (() => void)[] = [];
  const changed = () => {
    for (const wake of waiters.splice(0)) wake();
  };
  const change = () =>
    new Promise<void>((resolve) => {
      waiters = [...waiters, resolve];
    });
  socket.on('data', (chunk) => {
    seen += chunk.toString('latin1');
    changed();
  });
  socket.on('end', () => void socket.destroy());
  socket.resume();
  socket.on('error', () => {}); // A monitor that is killed resets its connections.
  socket.on('close', () => {
    ended = true;
    changed();
  });
  return {
    type: (text: string) => void socket.write(text),
    close: () => void socket.destroy(),
    seen: () => seen,
    /** Wait for the nth time that `text` is printed. */
    async until(text: string, times = 1): Promise<void> {
      while (seen.split(text).length <= times) {
        if (ended) throw new Error(`the console ended without ${JSON.stringify(text)}: ${seen}`);
        await change();
      }
    },
    async ended(): Promise<void> {
      while (!ended) await change();
    },
  };
}
