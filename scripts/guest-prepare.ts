/** Fetches a kernel and makes the initramfs and the ttylinux disk, or finds them in the cache; prints their paths. */
import { parseArgs } from 'node:util';
import { GuestError, prepareGuest } from '../src/guest/index.ts';

const { values } = parseArgs({
  options: {
    cache: { type: 'string', default: '.cache' },
    plain: { type: 'boolean', default: false },
    refresh: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log('usage: guest-prepare.ts [--cache FOLDER] [--plain] [--refresh]');
  console.log("  --plain    Debian's linux-image-amd64 instead of linux-image-cloud-amd64");
  console.log('  --refresh  ask apt for a newer kernel');
} else {
  try {
    const flavour = values.plain ? 'plain' : 'cloud';
    const onProgress = (line: string) => console.error(line);
    const guest = await prepareGuest({ cacheDir: values.cache, flavour, refresh: values.refresh, onProgress });
    console.log(JSON.stringify(guest, undefined, 2));
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    console.error(`guest-prepare: ${error.message}`);
    process.exitCode = 1;
  }
}
