    cpu: native (this machine), x86-64-v3 or -v4, also with -vnni, aarch64, riscv64, riscv64-v, wasm32-simd128 or -relaxed (a
    module for browsers, docs/web.md), or generic. emit_c: a folder for the C file, its header and the weights; alone, it needs
    no compiler. output: the library to write; without both, its bytes are in `code`. Memory is in bytes. Raises ModelError, UnsupportedOperator, ConversionMismatch, EngineError (no compiler),
    OutputError, UsageError.
