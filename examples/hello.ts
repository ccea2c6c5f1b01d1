/** A Linux machine as a value: boot it, log in, run a command, and it is gone at the end of the block. */
import { createDomain, ttylinux } from 'domus';

await using vm = await createDomain(await ttylinux());
await using console_ = await vm.console();

await console_.expect('login: ', { timeoutMs: 120_000 });
console_.line('root');
await console_.expect('Password: ');
console_.line('root');
await console_.expect('# ');

console_.line('uname -r; echo done=$?');
const { before, groups } = await console_.expect(/done=(\d+)/);
const release = before.trim().split('\n').at(-1);
console.log(`the guest runs Linux ${release}, and uname ended with ${groups[1]}`);
