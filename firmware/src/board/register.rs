//! Registers of peripherals, read and written as they are.

/// A register of 32 bits at a fixed address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register(usize);

impl Register {
    /// Returns the register at `address`.
    ///
    /// # Safety
    /// There must be such a register on this chip, and reading or writing it must have no effect on
    /// memory that Rust knows of.
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// Returns what the register holds. Reading may have effects that the chip's manual tells.
    pub(super) fn read(self) -> u32 {
        let address = core::ptr::with_exposed_provenance::<u32>(self.0);
        // SAFETY: `at` was promised that this is a register, aligned and readable.
        unsafe { address.read_volatile() }
    }

    /// Writes `value`.
    pub(super) fn write(self, value: u32) {
        let address = core::ptr::with_exposed_provenance_mut::<u32>(self.0);
        // SAFETY: `at` was promised that this is a register, aligned and writable, and that this
        // changes no memory that Rust knows of.
        unsafe { address.write_volatile(value) }
    }

    /// Clears the bits `clear`, then sets the bits `set`. Not for registers that interrupts write.
    #[cfg(feature = "board-stm32f405")]
    pub(super) fn change(self, clear: u32, set: u32) {
        self.write(self.read() & !clear | set);
    }
}
