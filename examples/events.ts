/** What happens to domains, as it happens: here the steps of making one, on a xend of its own that leaves nothing behind. */
import { connect, ttylinux } from 'domus';

await using host = await connect({ temporary: true });

const watching = (async () => {
  for await (const { type, data } of host.events({
    since: 0,
    types: ['operation.step', 'domain.created', 'domain.gone'],
  })) {
    if (type === 'operation.step') console.log(`${data?.name} ${data?.at}/${data?.of}: ${data?.step}`);
    else console.log(type);
    if (type === 'domain.gone') return;
  }
})();

const domain = await host.create({ ...(await ttylinux({ name: 'watched' })), paused: true });
const { name, state, memoryMiB } = await domain.view();
console.log(`${name} is ${state} and has ${memoryMiB} MiB`);
await domain[Symbol.asyncDispose]();
await watching;
