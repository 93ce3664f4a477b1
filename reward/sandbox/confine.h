// Which files a program may touch, whom it may signal and connect to: Landlock, by what this kernel's ABI knows.
// With namespaces a second layer below the private root; without them the first.
#pragma once

#include "reward/sandbox/init.h"

namespace cohort::sandbox {

// 0 where the kernel has no Landlock.
int landlock_abi();

// The calling process and what it starts from now on. True as well where the kernel is too old for it. With
// namespaces: read everything in the root, write /box and the devices. Without: read what the cell shows, write
// `folder`. Needs no_new_privs. System calls only.
bool confine(const Cell& cell, const char* folder);

}  // namespace cohort::sandbox
