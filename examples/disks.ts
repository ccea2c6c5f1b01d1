/** A disk more for a running domain, written by its guest, taken away again, and read from outside. */
import { open, rm, writeFile } from 'node:fs/promises';
import { connect, ttylinux } from 'domus';

await using host = await connect({ temporary: true });
await using vm = await host.create(await ttylinux());
await using terminal = await vm.console();

await terminal.expect('login: ', { timeoutMs: 120_000 });
terminal.line('root');
await terminal.expect('Password: ');
terminal.line('root');
await terminal.expect('# ');

const image = `${process.cwd()}/example-disk-${process.pid}.img`;
await writeFile(image, new Uint8Array(1 << 20));
try {
  const { name } = await vm.attachDisk(`file:${image},sdb1,w`);
  terminal.line(
    `until [ -b /dev/${name} ]; do sleep 0.1; done; echo hello from the guest > /dev/${name}; sync; echo o''k`,
  );
  await terminal.expect('ok');
  await vm.detachDisk('sdb1');
  await using file = await open(image);
  const { buffer } = await file.read(Buffer.alloc(20), 0, 20, 0);
  console.log(`on the disk: ${buffer.toString('utf8').trim()}`);
} finally {
  await rm(image);
}
const { kind } = (await vm.shutdown())!;
console.log(`the guest ended: ${kind}`);
