import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as calls from './calls.ts';
import * as coreFile from './core-file.ts';
import * as elf from './elf.ts';
import * as grants from './grants.ts';
import * as rings from './rings.ts';
import * as sharedInfo from './shared-info.ts';
import * as startInfo from './start-info.ts';
import type { Field } from './struct.ts';
import * as context from './vcpu-context.ts';

/** Size, then offset:width of each field in order, as the public headers lay them out. */
// biome-ignore format: a table
const EXPECTED: Record<string, string> = {
  start_info: '1168 20:8 28:8 30:4 38:8 40:4 48:8 50:4 58:8 60:8 68:8 70:8 78:8 480:8 488:8',
  e820entry: '20 0:8 8:8 10:4',
  vcpu_time_info: '32 0:4 8:8 10:8 18:4 1c:1 1d:1',
  vcpu_info: '64 0:1 1:1 8:8 10:8',
  shared_info: '3136 c00:4 c04:4 c08:4 c0c:4 c10:8 c18:8 c20:8 c28:8 c30:8 c38:8',
  vcpu_runstate_info: '48 0:4 8:8 10:8 18:8 20:8 28:8',
  Elf64_Ehdr: '64 0:4 4:1 5:1 6:1 10:2 12:2 14:4 18:8 20:8 28:8 34:2 36:2 38:2 3a:2 3c:2 3e:2',
  Elf64_Phdr: '56 0:4 4:4 8:8 10:8 18:8 20:8 28:8 30:8',
  Elf64_Shdr: '64 0:4 4:4 8:8 10:8 18:8 20:8 28:4 2c:4 30:8 38:8',
  Elf64_Sym: '24 0:4 4:1 6:2 8:8 10:8',
  Elf64_Nhdr: '12 0:4 4:4 8:4',
  trap_info: '16 0:1 1:1 2:2 8:8',
  mmu_update: '16 0:8 8:8',
  mmuext_op: '24 0:4 8:8 10:8',
  multicall_entry: '64 0:8 8:8 10:8',
  xen_memory_reservation: '32 0:8 8:8 10:4 14:4 18:2',
  xen_memory_map: '16 0:4 8:8',
  xen_machphys_mapping: '24 0:8 8:8 10:8',
  sched_poll: '24 0:8 8:4 10:8',
  sched_watchdog: '8 0:4 4:4',
  vcpu_set_singleshot_timer: '16 0:8 8:4',
  vcpu_register_vcpu_info: '16 0:8 8:4',
  evtchn_bind_interdomain: '12 0:2 4:4 8:4',
  evtchn_bind_virq: '12 0:4 4:4 8:4',
  evtchn_close: '4 0:4',
  evtchn_send: '4 0:4',
  evtchn_unmask: '4 0:4',
  evtchn_status: '24 0:2 4:4 8:4 c:4 10:2 10:4 14:4',
  evtchn_alloc_unbound: '8 0:2 2:2 4:4',
  evtchn_bind_ipi: '8 0:4 4:4',
  evtchn_bind_vcpu: '8 0:4 4:4',
  evtchn_reset: '2 0:2',
  callback_register: '16 0:2 2:2 8:8',
  grant_entry_v1: '8 0:2 2:2 4:4',
  gnttab_map_grant_ref: '32 0:8 8:4 c:4 10:2 12:2 14:4 18:8',
  gnttab_unmap_grant_ref: '24 0:8 8:8 10:4 14:2',
  gnttab_setup_table: '24 0:2 4:4 8:2 10:8',
  gnttab_copy_side: '16 0:4 0:8 8:2 a:2',
  gnttab_copy: '40 20:2 22:2 24:2',
  gnttab_query_size: '16 0:2 4:4 8:4 c:2',
  gnttab_get_version: '8 0:2 4:4',
  sring: '64 0:4 4:4 8:4 c:4',
  blkif_request: '112 0:1 1:1 2:2 8:8 10:8',
  blkif_request_segment: '8 0:4 4:1 5:1',
  blkif_request_discard: '112 0:1 1:1 2:2 8:8 10:8 18:8',
  blkif_request_indirect: '112 0:1 1:1 2:2 8:8 10:8 18:2 1c:4',
  blkif_response: '16 0:8 8:1 a:2',
  xencons_interface: '3092 c00:4 c04:4 c08:4 c0c:4 c10:1',
  xenstore_domain_interface: '2080 800:4 804:4 808:4 80c:4 810:4 814:4 818:4 81c:4',
  xsd_sockmsg: '16 0:4 4:4 8:4 c:4',
  netif_tx_request: '12 0:4 4:2 6:2 8:2 a:2',
  netif_tx_response: '4 0:2 2:2',
  netif_rx_request: '8 0:2 4:4',
  netif_rx_response: '8 0:2 2:2 4:2 6:2',
  vcpu_guest_context: '5168 200:8 12d0:8 12d8:8 1360:8 1368:8 1370:8 13f8:8 1400:8 1408:8 1410:8 1418:8 1420:8 1428:8',
  cpu_user_regs: '200 0:8 8:8 10:8 18:8 20:8 28:8 30:8 38:8 40:8 48:8 50:8 58:8 60:8 68:8 70:8 78:4 7c:4 80:8 88:2 8c:1 90:8 98:8 a0:2 a8:2 b0:2 b8:2 c0:2',
  elf_prstatus: '336 0:4 20:4 70:8 148:4',
  xen_dumpcore_elfnote_header_desc: '32 0:8 8:8 10:8 18:8',
  xen_dumpcore_elfnote_xen_version_desc: '1280 0:8 8:8 4f0:8 4f8:8',
  xen_dumpcore_p2m: '16 0:8 8:8',
};

test('every layout of the guest ABI has the size and the offsets that the public headers give it', () => {
  const found: Record<string, string> = {};
  for (const module of [startInfo, sharedInfo, elf, calls, grants, rings, context, coreFile]) {
    for (const value of Object.values(module) as unknown[]) {
      const layout = value as { name?: unknown; size?: unknown };
      if (typeof layout !== 'object' || typeof layout.name !== 'string' || typeof layout.size !== 'number') continue;
      const fields = Object.values(layout).filter((field): field is Field<unknown> => typeof field === 'object');
      found[layout.name] = [layout.size, ...fields.map((f) => `${f.offset.toString(16)}:${f.size}`)].join(' ');
    }
  }
  assert.deepEqual(found, EXPECTED);
});
