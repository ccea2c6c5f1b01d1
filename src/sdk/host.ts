/** This machine and its domains, by way of a xend: what `connect` gives. */
import type { XendEvent } from '../xend/events.ts';
import type { NodeInfo } from '../xend/node-info.ts';
import type { Input, Reply, RouteName } from '../xend/routes.ts';
import type { DomainView, ExitView } from '../xend/view.ts';
import type { XendClient } from './client.ts';
import { Domain } from './domain.ts';
import { configOf, type DomainInit } from './domain-init.ts';
import { type EventFilter, events } from './events.ts';

export class Host implements AsyncDisposable {
  readonly client: XendClient;
  readonly #stop: () => Promise<void>;
  #closed: Promise<void> | undefined;

  /** Made by `connect`. `stop` ends what was started for it. */
  constructor(client: XendClient, stop: () => Promise<void> = async () => {}) {
    this.client = client;
    this.#stop = stop;
  }

  /** Any request of the API, typed: `call('GET /node', {})`. */
  call<K extends RouteName>(route: K, input: Input<K>): Promise<Reply<K>> {
    return this.client.call(route, input);
  }

  info(): Promise<NodeInfo> {
    return this.call('GET /node', {});
  }

  /** The hypervisor's messages, as `xm dmesg` prints them. */
  async dmesg(): Promise<string> {
    return (await this.call('GET /node/dmesg', {})).text;
  }

  /** The same, forgotten afterwards, as `xm dmesg -c`. */
  async clearDmesg(): Promise<string> {
    return (await this.call('POST /node/dmesg/clear', {})).text;
  }

  /** xend's log. */
  async log(): Promise<string> {
    return (await this.call('GET /node/log', {})).text;
  }

  /** The settings that its xend runs with. */
  settings(): Promise<Reply<'GET /node/config'>> {
    return this.call('GET /node/config', {});
  }

  /** All domains as they are now, Domain-0 among them. */
  list(): Promise<DomainView[]> {
    return this.call('GET /domains', {});
  }

  /** A domain that exists, by name, id or uuid. It is not ended with what is returned unless that is disposed of. */
  async domain(name: string): Promise<Domain> {
    return new Domain(this.client, await this.call('GET /domains/:name', { name }));
  }

  /** Make a domain and start it. */
  async create(init: DomainInit): Promise<Domain> {
    const { paused = false, release } = init;
    try {
      const start = paused ? {} : { startAfterS: 0 };
      const view = await this.call('POST /domains', { config: await configOf(init), ...start });
      return new Domain(this.client, view, release);
    } catch (error) {
      await release?.();
      throw error;
    }
  }

  events(filter: EventFilter = {}): AsyncGenerator<XendEvent, void, void> {
    return events(this.client, filter);
  }

  /** How the domain with this uuid ended; undefined while it is there. */
  async exit(uuid: string): Promise<ExitView | undefined> {
    return (await this.call('GET /exits/:uuid', { uuid })).exit;
  }

  /** Close the connection; a xend that `connect` started is stopped, and with it, where it is temporary, its domains. */
  close(): Promise<void> {
    this.#closed ??= this.#stop().finally(() => this.client.close());
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
