/** A domain's channels: consoles with a name beside the first. There is the agent's (decision 11), as the store has it. */
import { agentSocket } from '../host/paths.ts';
import { AGENT_CHANNEL } from '../monitor/agent/channel.ts';
import type { Domain } from './domain.ts';
import { channelRoots, type DomainStore } from './domain-store.ts';
import type { ChannelView } from './view.ts';

export async function channelsOf({ domid, runDir }: Domain, store: DomainStore): Promise<ChannelView[]> {
  const { id, name } = AGENT_CHANNEL;
  const [back, front] = channelRoots(domid, id);
  const nodes = [`${back}/state`, `${front}/ring-ref`, `${front}/port`];
  const [state, ringRef, eventChannel] = await Promise.all(nodes.map(async (node) => number(await store.read(node))));
  // A domain of a xend that knew no agents has none.
  if (state === undefined) return [];
  return [{ id, name, state, ringRef, eventChannel, socket: agentSocket(runDir) }];
}

/** The guest writes some of them. */
const number = (text: string | undefined): number | undefined =>
  /^\d{1,10}$/.test(text ?? '') ? Number(text) : undefined;
