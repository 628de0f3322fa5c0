! A model inside a simulation's time step: drift MODEL IMAGES LABELS [SAMPLES [STEPS]]
!
! The images of a Fashion-MNIST file (idx, unpacked) drift across their field, one pixel a step, as something
! in a flow would; after each step the model says of each what it is. Columns of the field wrap around, so
! that after 28 steps all are where they were. Written out is the share that is recognised.
program drift
  use godwit
  use, intrinsic :: iso_fortran_env, only: error_unit
  implicit none
  integer, parameter :: side = 28, classes = 10, block = 32
  type(godwit_model) :: model
  integer(c_int8_t), allocatable :: pixels(:, :, :), labels(:)
  real(c_float), allocatable :: field(:, :, :, :), scores(:, :)
  integer :: n, steps, step, first, last, right, unit, i

  if (command_argument_count() < 3) then
    write (error_unit, "(a)") "usage: drift MODEL IMAGES LABELS [SAMPLES [STEPS]]"
    error stop 2
  end if
  n = integer_argument(4, 200)
  steps = integer_argument(5, side)
  allocate (pixels(side, side, n), labels(n), field(1, side, side, n), scores(classes, n))
  open (newunit=unit, file=argument(2), access="stream", form="unformatted", status="old", action="read")
  read (unit, pos=17) pixels
  close (unit)
  open (newunit=unit, file=argument(3), access="stream", form="unformatted", status="old", action="read")
  read (unit, pos=9) labels
  close (unit)

  call godwit_open(model, argument(1), threads=1)
  ! Bytes from 0 to 255, which Fortran sees as numbers from -128 to 127.
  field(1, :, :, :) = real(iand(int(pixels), 255), c_float)/255
  do step = 0, steps
    if (step > 0) field = cshift(field, 1, dim=2)
    ! Each thread of the region calls the model on blocks of its own.
    !$omp parallel do private(last) schedule(dynamic)
    do first = 1, n, block
      last = min(first + block - 1, n)
      call godwit_run(model, last - first + 1, field(:, :, :, first:last), scores(:, first:last))
    end do
    !$omp end parallel do
    right = 0
    do i = 1, n
      if (maxloc(scores(:, i), dim=1) - 1 == labels(i)) right = right + 1
    end do
    if (mod(step, 7) == 0) write (*, "(a, i3, a, f6.2, a)") "step", step, ":", 100.0*right/n, " % recognised"
  end do
  write (*, "(4a)") "the first one is: ", godwit_label(model, maxloc(scores(:, 1), dim=1))
  call godwit_close(model)
  deallocate (pixels, labels, field, scores)

contains

  function argument(i) result(text)
    integer, intent(in) :: i
    character(:), allocatable :: text
    integer :: length
    call get_command_argument(i, length=length)
    allocate (character(length) :: text)
    call get_command_argument(i, text)
  end function argument

  integer function integer_argument(i, default)
    integer, intent(in) :: i, default
    character(16) :: text
    integer_argument = default
    if (command_argument_count() < i) return
    call get_command_argument(i, text)
    read (text, *) integer_argument
  end function integer_argument

end program drift
