/**
 * Bytes a second from a guest's console ring to a client on the monitor's socket, log file and scrollback included. The guest
 * is a kernel of twenty instructions that does nothing but fill its ring of 2 KB, so that the rest of the way is measured. It
 * writes as much as fits, and pieces of 256 bytes with an event each, as Linux's driver does.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { XEN_ELFNOTE as NOTE } from '../../src/abi/elf.ts';
import { HYPERCALL, SCHEDOP } from '../../src/abi/numbers.ts';
import { CONSOLE_RING_BYTES, ConsoleRing } from '../../src/abi/rings.ts';
import { StartInfo } from '../../src/abi/start-info.ts';
import { openConsole } from '../../src/host/console-link.ts';
import { makeKernel } from '../../src/hypervisor/builder/elf-for-tests.ts';
import { assemble } from '../../test/abi/assembler.ts';
import type { OwnXend } from '../lib/own-xend.ts';
import { median, type Row } from './report.ts';

const VIRT_BASE = 0xffffffff80000000n;
const IMAGE = 0x100000;
const IMAGE_BYTES = 0x4000;
const WARM_MS = 500;
const WATCH_MS = 2000;
const RUNS = 3;
const MB = 1e6;

/** EVTCHNOP_send. */
const SEND = 4;
const { out: OUT } = CONSOLE_RING_BYTES;

const flood = (piece: number): string => `
  start:
    mov rbp, [rsi + ${StartInfo.console_mfn.offset}]
    shl rbp, 12
    add rbp, VIRT_BASE
    mov eax, [rsi + ${StartInfo.console_evtchn.offset}]
    mov [port], eax
  again:
    mov ebx, [rbp + ${ConsoleRing.out_prod.offset}]
    mov eax, [rbp + ${ConsoleRing.out_cons.offset}]
    mov ecx, ebx
    sub ecx, eax
    neg ecx
    add ecx, ${OUT.size}          ; what is free
    je full
    mov eax, ebx
    and eax, ${OUT.size - 1}
    mov edx, ${OUT.size}
    sub edx, eax                  ; up to the ring's end
    cmp ecx, edx
    jbe fits
    mov ecx, edx
  fits:
    cmp ecx, ${piece}
    jbe small
    mov ecx, ${piece}
  small:
    lea rdi, [rbp + rax + ${OUT.offset}]
    mov rsi, text
    add ebx, ecx
    rep movsb
    mov [rbp + ${ConsoleRing.out_prod.offset}], ebx
    mov edi, ${SEND}
    mov rsi, port
    mov eax, ${HYPERCALL.event_channel_op}
    syscall
    jmp again
  full:
    mov edi, ${SCHEDOP.yield}
    mov esi, 0
    mov eax, ${HYPERCALL.sched_op}
    syscall
    jmp again
  .align 8
  port: .quad 0
  text: ${Array.from({ length: OUT.size / 64 }, () => `.ascii "${'the quick brown fox jumps over the lazy dog, and does it again.'}"\n.byte 10`).join('\n')}
`;

function kernel(piece: number): Uint8Array {
  const { bytes } = assemble(flood(piece), VIRT_BASE + BigInt(IMAGE), { VIRT_BASE });
  return makeKernel([{ paddr: IMAGE, bytes, memsz: IMAGE_BYTES }], {
    [NOTE.ENTRY]: VIRT_BASE + BigInt(IMAGE),
    [NOTE.VIRT_BASE]: VIRT_BASE,
    [NOTE.XEN_VERSION]: 'xen-3.0',
    [NOTE.LOADER]: 'generic',
    [NOTE.HYPERCALL_PAGE]: VIRT_BASE + BigInt(IMAGE + IMAGE_BYTES - 0x1000),
  });
}

async function measure(xend: OwnXend, piece: number): Promise<number> {
  const name = `flood${piece}`;
  const file = path.join(xend.folder, name);
  writeFileSync(file, kernel(piece));
  writeFileSync(`${file}.cfg`, `kernel = "${file}"\nmemory = 8\nname = "${name}"\nnics = 0\n`);
  const { code, output } = await xend.run('xm', ['create', '-q', `${file}.cfg`]);
  if (code !== 0) throw new Error(`xm create: ${output}`);
  const client = xend.client();
  const { socket: at } = await client.call('GET /domains/:name/console', { name });
  const { socket } = await openConsole(at, { mode: 'watch', who: 'a benchmark' });
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  socket.resume();
  await wait(WARM_MS);
  const [before, begun] = [bytes, performance.now()];
  await wait(WATCH_MS);
  const speed = (bytes - before) / MB / ((performance.now() - begun) / 1000);
  await client.call('POST /domains/:name/destroy', { name });
  client.close();
  if (!socket.closed) await once(socket.destroy(), 'close');
  return speed;
}

export async function consoleRows(xend: OwnXend, progress: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [id, what, piece] of [
    ['console.flood', 'console: guest to client, as much as fits', OUT.size],
    ['console.pieces', 'console: guest to client, 256 bytes at a time', 256],
  ] as const) {
    const runs: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      runs.push(await measure(xend, piece));
      progress(`${what}: ${runs.at(-1)!.toFixed(1)} MB/s`);
    }
    rows.push({ id, what, unit: 'MB/s', value: median(runs), runs });
  }
  return rows;
}
