// SPDX-License-Identifier: Apache-2.0
// A plugin for QEMU: how many instructions of the emulated processor were executed, on stderr at the end.
//
//     qemu-aarch64 -plugin ./libcount_instructions.so PROGRAM ...
//
// Declares what it uses of QEMU's plugin interface, version 1, whose header distributions seldom bring.
// Source: https://www.qemu.org/docs/master/devel/tcg-plugins.html

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;  // a block of translated instructions
enum { ADD_TO_UINT64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, int operation, void* number, uint64_t by);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*ended)(plugin_id, void*), void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);

EXPORT int qemu_plugin_version = 1;

static uint64_t executed;

static void count(plugin_id id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_TO_UINT64, &executed, qemu_plugin_tb_n_insns(block));
}

static void tell(plugin_id id, void* data) {
  (void)id, (void)data;
  fprintf(stderr, "instructions: %" PRIu64 "\n", executed);
}

EXPORT int qemu_plugin_install(plugin_id id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, count);
  qemu_plugin_register_atexit_cb(id, tell, NULL);
  return 0;
}
