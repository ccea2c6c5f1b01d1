/**
 * The thread that translates for a vCPU while it runs on (host/regions/translator.ts): it makes modules of what is ordered, and writes those
 * for other domains to their folder. It ends when it is told to, or the vCPU's thread has ended.
 */
import { type MessagePort, workerData } from 'node:worker_threads';
import { keepRegions, loadFile } from '../host/regions/kept-files.ts';
import { makeModule, type TranslatorMessage } from '../host/regions/translator.ts';

const port = workerData as MessagePort;
port.on('message', (message: TranslatorMessage) => {
  switch (message.kind) {
    case 'order': {
      const made = makeModule(message.cpu, message.regions);
      port.postMessage(made, [made.bytes.buffer, ...made.codes.map(({ bytes }) => bytes.buffer)]);
      return;
    }
    case 'load':
      port.postMessage(loadFile(message.file) ?? false);
      return;
    case 'keep':
      keepRegions(message.folder, message.version, message.regions);
      return;
    case 'end':
      port.close();
      return;
  }
});
