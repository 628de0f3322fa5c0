!> libgodwit for Fortran 2008: runs trained Keras models.
!>
!>     use godwit
!>     type(godwit_model) :: model
!>     real(c_float) :: images(1, 28, 28, n), scores(10, n)
!>     call godwit_open(model, "fashion.h5")
!>     call godwit_run(model, n, images, scores)
!>     call godwit_close(model)
!>
!> Shapes are those of Keras reversed, as Fortran's first index runs fastest: images are (channels, width,
!> height, samples), sequences (features, steps, samples), classes (classes, samples). Inputs, outputs and
!> classes are counted from 1.
!>
!> `stat` becomes 0, or one of the codes below, and `errmsg` then says in one line what is wrong and what to do;
!> without `stat` the program stops with that line, as with ALLOCATE. What godwit.h says of threads and of the
!> process holds here too: one model may be run by several threads at once, in parallel regions of OpenMP too.
!> A copy of a model is the same model: close one of them, once.
module godwit
  use, intrinsic :: iso_c_binding
  use, intrinsic :: iso_fortran_env, only: error_unit
  implicit none
  private

  public :: godwit_model, godwit_version, godwit_open, godwit_close, godwit_is_open, godwit_run, godwit_run_several
  public :: godwit_prepare, godwit_run_image, godwit_input_count, godwit_output_count, godwit_input_name
  public :: godwit_output_name
  public :: godwit_input_shape, godwit_output_shape, godwit_label_count, godwit_label, godwit_preprocessing
  public :: c_float, c_int8_t

  integer, parameter, public :: GODWIT_OK = 0, GODWIT_USAGE = 2, GODWIT_DATA = 65, GODWIT_UNSUPPORTED = 69, &
       GODWIT_INTERNAL = 70, GODWIT_MEMORY = 71, GODWIT_IO = 74
  !> A dimension that is not known before the inputs are.
  integer, parameter, public :: GODWIT_UNKNOWN = -1

  type :: godwit_model
    private
    type(c_ptr) :: handle = c_null_ptr
  end type godwit_model

  integer, parameter :: MESSAGE_MAX = 1024, RANK_MAX = 8

  type, bind(c) :: error_c
    integer(c_int) :: code = 0
    character(kind=c_char) :: message(MESSAGE_MAX) = c_null_char
  end type error_c

  type, bind(c) :: shape_c
    integer(c_int) :: rank = 0
    integer(c_int64_t) :: dim(RANK_MAX) = 0
  end type shape_c

  type, bind(c) :: options_c
    integer(c_size_t) :: size
    type(c_ptr) :: models, topology, aliases, engine, precision
    integer(c_int) :: threads, batch
    integer(c_size_t) :: memory
  end type options_c

  interface
    function c_version() bind(c, name="godwit_version") result(text)
      import :: c_ptr
      type(c_ptr) :: text
    end function c_version

    function c_open(name, options, handle, error) bind(c, name="godwit_open") result(code)
      import :: c_ptr, c_char, c_int, options_c, error_c
      character(kind=c_char), intent(in) :: name(*)
      type(options_c), intent(in) :: options
      type(c_ptr), intent(out) :: handle
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_open

    subroutine c_close(handle) bind(c, name="godwit_close")
      import :: c_ptr
      type(c_ptr), value :: handle
    end subroutine c_close

    function c_input_count(handle) bind(c, name="godwit_input_count") result(n)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int) :: n
    end function c_input_count

    function c_output_count(handle) bind(c, name="godwit_output_count") result(n)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int) :: n
    end function c_output_count

    function c_input_name(handle, i) bind(c, name="godwit_input_name") result(text)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int), value :: i
      type(c_ptr) :: text
    end function c_input_name

    function c_output_name(handle, i) bind(c, name="godwit_output_name") result(text)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int), value :: i
      type(c_ptr) :: text
    end function c_output_name

    function c_input_shape(handle, i, shape) bind(c, name="godwit_input_shape") result(code)
      import :: c_ptr, c_int, shape_c
      type(c_ptr), value :: handle
      integer(c_int), value :: i
      type(shape_c), intent(inout) :: shape
      integer(c_int) :: code
    end function c_input_shape

    function c_output_shape(handle, i, shape) bind(c, name="godwit_output_shape") result(code)
      import :: c_ptr, c_int, shape_c
      type(c_ptr), value :: handle
      integer(c_int), value :: i
      type(shape_c), intent(inout) :: shape
      integer(c_int) :: code
    end function c_output_shape

    function c_output_shapes(handle, inputs, outputs, error) bind(c, name="godwit_output_shapes") result(code)
      import :: c_ptr, c_int, shape_c, error_c
      type(c_ptr), value :: handle
      type(shape_c), intent(in) :: inputs(*)
      type(shape_c), intent(inout) :: outputs(*)
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_output_shapes

    function c_run(handle, samples, inputs, outputs, error) bind(c, name="godwit_run") result(code)
      import :: c_ptr, c_int, c_int64_t, error_c
      type(c_ptr), value :: handle
      integer(c_int64_t), value :: samples
      type(c_ptr), intent(in) :: inputs(*), outputs(*)
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_run

    function c_run_shapes(handle, samples, shapes, inputs, outputs, error) bind(c, name="godwit_run_shapes") &
         result(code)
      import :: c_ptr, c_int, c_int64_t, shape_c, error_c
      type(c_ptr), value :: handle
      integer(c_int64_t), value :: samples
      type(shape_c), intent(in) :: shapes(*)
      type(c_ptr), intent(in) :: inputs(*), outputs(*)
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_run_shapes

    function c_prepare(handle, samples, shapes, error) bind(c, name="godwit_prepare") result(code)
      import :: c_ptr, c_int, c_int64_t, error_c
      type(c_ptr), value :: handle
      integer(c_int64_t), value :: samples
      type(c_ptr), value :: shapes
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_prepare

    function c_run_image(handle, height, width, channels, pixels, outputs, error) &
         bind(c, name="godwit_run_image") result(code)
      import :: c_ptr, c_int, c_int8_t, c_int64_t, error_c
      type(c_ptr), value :: handle
      integer(c_int64_t), value :: height, width
      integer(c_int), value :: channels
      integer(c_int8_t), intent(in) :: pixels(*)
      type(c_ptr), intent(in) :: outputs(*)
      type(error_c), intent(inout) :: error
      integer(c_int) :: code
    end function c_run_image

    function c_label_count(handle) bind(c, name="godwit_label_count") result(n)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int) :: n
    end function c_label_count

    function c_label(handle, i) bind(c, name="godwit_label") result(text)
      import :: c_ptr, c_int
      type(c_ptr), value :: handle
      integer(c_int), value :: i
      type(c_ptr) :: text
    end function c_label

    function c_preprocessing(handle, scale, offset) bind(c, name="godwit_preprocessing") result(said)
      import :: c_ptr, c_int, c_double
      type(c_ptr), value :: handle
      real(c_double), intent(out) :: scale, offset
      integer(c_int) :: said
    end function c_preprocessing

    function c_strlen(text) bind(c, name="strlen") result(n)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: text
      integer(c_size_t) :: n
    end function c_strlen
  end interface

contains

  !> "0.1.0".
  function godwit_version() result(version)
    character(:), allocatable :: version
    version = text_of(c_version())
  end function godwit_version

  !> Opens a model: a file or folder, or NAME[:VERSION] in the folder `models`. The optional arguments are the
  !> members of godwit_options in godwit.h.
  subroutine godwit_open(model, name, stat, errmsg, models, topology, aliases, engine, precision, threads, &
       batch, memory)
    type(godwit_model), intent(out) :: model
    character(*), intent(in) :: name
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    character(*), intent(in), optional :: models, topology, aliases, engine, precision
    integer, intent(in), optional :: threads, batch
    integer(c_size_t), intent(in), optional :: memory
    character(:), allocatable, target :: models_c, topology_c, aliases_c, engine_c, precision_c
    type(options_c) :: options
    type(error_c) :: error
    integer(c_int) :: code

    options = options_c(0, c_null_ptr, c_null_ptr, c_null_ptr, c_null_ptr, c_null_ptr, 0, 0, 0)
    options%size = c_sizeof(options)
    call take_text(models, models_c, options%models)
    call take_text(topology, topology_c, options%topology)
    call take_text(aliases, aliases_c, options%aliases)
    call take_text(engine, engine_c, options%engine)
    call take_text(precision, precision_c, options%precision)
    if (present(threads)) options%threads = int(threads, c_int)
    if (present(batch)) options%batch = int(batch, c_int)
    if (present(memory)) options%memory = memory
    code = c_open(trim(name)//c_null_char, options, model%handle, error)
    call report(code, error, stat, errmsg)
  end subroutine godwit_open

  !> Nobody may use it any more. A model that is not open stays so.
  subroutine godwit_close(model)
    type(godwit_model), intent(inout) :: model
    call c_close(model%handle)
    model%handle = c_null_ptr
  end subroutine godwit_close

  logical function godwit_is_open(model)
    type(godwit_model), intent(in) :: model
    godwit_is_open = c_associated(model%handle)
  end function godwit_is_open

  !> 0 of a model that is not open.
  integer function godwit_input_count(model)
    type(godwit_model), intent(in) :: model
    godwit_input_count = 0
    if (godwit_is_open(model)) godwit_input_count = c_input_count(model%handle)
  end function godwit_input_count

  integer function godwit_output_count(model)
    type(godwit_model), intent(in) :: model
    godwit_output_count = 0
    if (godwit_is_open(model)) godwit_output_count = c_output_count(model%handle)
  end function godwit_output_count

  !> Name of a layer; "" if there is no such input.
  function godwit_input_name(model, i) result(name)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: i
    character(:), allocatable :: name
    name = ""
    if (godwit_is_open(model)) name = text_of(c_input_name(model%handle, int(i - 1, c_int)))
  end function godwit_input_name

  function godwit_output_name(model, i) result(name)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: i
    character(:), allocatable :: name
    name = ""
    if (godwit_is_open(model)) name = text_of(c_output_name(model%handle, int(i - 1, c_int)))
  end function godwit_output_name

  !> Shape of one sample, e.g. [1, 28, 28]: channels, width, height; of size 0 if there is no such input.
  function godwit_input_shape(model, i) result(shape)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: i
    integer, allocatable :: shape(:)
    type(shape_c) :: s
    integer(c_int) :: code
    if (godwit_is_open(model)) code = c_input_shape(model%handle, int(i - 1, c_int), s)
    shape = reversed(s)
  end function godwit_input_shape

  !> With `input`, the shape of the input of a model with one: what the output is then.
  function godwit_output_shape(model, i, input, stat, errmsg) result(shape)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: i
    integer, intent(in), optional :: input(:)
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    integer, allocatable :: shape(:)
    type(shape_c), allocatable :: outputs(:)
    type(shape_c) :: s
    type(error_c) :: error
    integer(c_int) :: code
    integer :: n
    code = GODWIT_OK
    n = godwit_output_count(model)
    if (i >= 1 .and. i <= n) then
      if (present(input)) then
        allocate (outputs(n))
        code = must_have_one(model, error, outputs_too=.false.)
        if (code == GODWIT_OK) code = c_output_shapes(model%handle, [shape_of(input)], outputs, error)
        if (code == GODWIT_OK) s = outputs(i)
      else
        code = c_output_shape(model%handle, int(i - 1, c_int), s)
      end if
    end if
    shape = reversed(s)
    call report(code, error, stat, errmsg)
  end function godwit_output_shape

  !> Runs a model with one input and one output on n samples: arrays of any rank, of which the last index is the
  !> sample. `shape` is needed for inputs of unknown sizes: the input's shape without the samples.
  subroutine godwit_run(model, n, input, output, shape, stat, errmsg)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: n
    real(c_float), intent(in), target :: input(*)
    real(c_float), intent(inout), target :: output(*)
    integer, intent(in), optional :: shape(:)
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    type(error_c) :: error
    integer(c_int) :: code
    type(c_ptr) :: inputs(1), outputs(1)
    inputs(1) = c_loc(input)
    outputs(1) = c_loc(output)
    code = must_have_one(model, error, outputs_too=.true.)
    if (code == GODWIT_OK .and. present(shape)) then
      code = c_run_shapes(model%handle, int(n, c_int64_t), [shape_of(shape)], inputs, outputs, error)
    else if (code == GODWIT_OK) then
      code = c_run(model%handle, int(n, c_int64_t), inputs, outputs, error)
    end if
    call report(code, error, stat, errmsg)
  end subroutine godwit_run

  !> The same for a model with several: their addresses (c_loc) in the order of the model, each of a contiguous
  !> array as above. `shapes` (rank, inputs) has the shapes of all, one a column, filled up with zeros.
  subroutine godwit_run_several(model, n, inputs, outputs, shapes, stat, errmsg)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: n
    type(c_ptr), intent(in) :: inputs(:), outputs(:)
    integer, intent(in), optional :: shapes(:, :)
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    type(shape_c), allocatable :: s(:)
    type(error_c) :: error
    integer(c_int) :: code
    integer :: i
    code = must_have(model, size(inputs), size(outputs), error)
    if (code == GODWIT_OK .and. present(shapes)) then
      if (size(shapes, 2) /= size(inputs)) then
        code = refuse(error, "libgodwit: there are not as many shapes as inputs")
      else
        allocate (s(size(inputs)))
        do i = 1, size(inputs)
          s(i) = shape_of(pack(shapes(:, i), shapes(:, i) /= 0))
        end do
        code = c_run_shapes(model%handle, int(n, c_int64_t), s, inputs, outputs, error)
      end if
    else if (code == GODWIT_OK) then
      code = c_run(model%handle, int(n, c_int64_t), inputs, outputs, error)
    end if
    call report(code, error, stat, errmsg)
  end subroutine godwit_run_several

  !> Compiles what a run of n samples needs. `shape` as for godwit_run, for a model with one input.
  subroutine godwit_prepare(model, n, shape, stat, errmsg)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: n
    integer, intent(in), optional :: shape(:)
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    type(shape_c), target :: s
    type(c_ptr) :: at
    type(error_c) :: error
    integer(c_int) :: code
    at = c_null_ptr
    code = GODWIT_OK
    if (present(shape)) then
      s = shape_of(shape)
      at = c_loc(s)
      code = must_have_one(model, error, outputs_too=.false.)
    end if
    if (code == GODWIT_OK) code = c_prepare(model%handle, int(n, c_int64_t), at, error)
    call report(code, error, stat, errmsg)
  end subroutine godwit_prepare

  !> An image of 8-bit pixels (channels, width, height), channels 1 or 3, through the model's preprocessing;
  !> values above 127 are those of the same bits: int(value - 256, c_int8_t). Of a model with one output.
  subroutine godwit_run_image(model, pixels, output, stat, errmsg)
    type(godwit_model), intent(in) :: model
    integer(c_int8_t), intent(in), contiguous :: pixels(:, :, :)
    real(c_float), intent(inout), target :: output(*)
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    type(error_c) :: error
    integer(c_int) :: code
    type(c_ptr) :: outputs(1)
    outputs(1) = c_loc(output)
    code = must_have_one(model, error, outputs_too=.true.)
    if (code == GODWIT_OK) then
      code = c_run_image(model%handle, size(pixels, 3, c_int64_t), size(pixels, 2, c_int64_t), &
           size(pixels, 1, c_int), pixels, outputs, error)
    end if
    call report(code, error, stat, errmsg)
  end subroutine godwit_run_image

  !> Names of the classes, if the model's file has them: how many, and "" if there is no such class.
  integer function godwit_label_count(model)
    type(godwit_model), intent(in) :: model
    godwit_label_count = 0
    if (godwit_is_open(model)) godwit_label_count = c_label_count(model%handle)
  end function godwit_label_count

  function godwit_label(model, class) result(label)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: class
    character(:), allocatable :: label
    label = ""
    if (godwit_is_open(model)) label = text_of(c_label(model%handle, int(class - 1, c_int)))
  end function godwit_label

  !> An input is pixel * scale + offset; .true. if the model's file says so.
  logical function godwit_preprocessing(model, scale, offset)
    type(godwit_model), intent(in) :: model
    real(c_double), intent(out) :: scale, offset
    godwit_preprocessing = .false.
    scale = 0
    offset = 0
    if (godwit_is_open(model)) godwit_preprocessing = c_preprocessing(model%handle, scale, offset) /= 0
  end function godwit_preprocessing

  ! ---- inside ----

  function text_of(at) result(text)
    type(c_ptr), intent(in) :: at
    character(:), allocatable :: text
    character(kind=c_char), pointer :: c(:)
    integer :: i, n
    n = 0
    if (c_associated(at)) n = int(c_strlen(at))
    allocate (character(n) :: text)
    if (n == 0) return
    call c_f_pointer(at, c, [n])
    do i = 1, n
      text(i:i) = c(i)
    end do
  end function text_of

  subroutine take_text(text, kept, at)
    character(*), intent(in), optional :: text
    character(:), allocatable, target, intent(inout) :: kept
    type(c_ptr), intent(out) :: at
    at = c_null_ptr
    if (.not. present(text)) return
    kept = trim(text)//c_null_char
    at = c_loc(kept)
  end subroutine take_text

  function shape_of(dims) result(s)
    integer, intent(in) :: dims(:)
    type(shape_c) :: s
    s%rank = size(dims)
    if (size(dims) <= RANK_MAX) s%dim(1:size(dims)) = dims(size(dims):1:-1)
  end function shape_of

  function reversed(s) result(dims)
    type(shape_c), intent(in) :: s
    integer, allocatable :: dims(:)
    dims = int(s%dim(s%rank:1:-1))
  end function reversed

  function refuse(error, message) result(code)
    type(error_c), intent(inout) :: error
    character(*), intent(in) :: message
    integer(c_int) :: code
    integer :: i
    code = GODWIT_USAGE
    error%code = code
    error%message = c_null_char
    do i = 1, len(message)
      error%message(i) = message(i:i)
    end do
  end function refuse

  function must_have(model, inputs, outputs, error) result(code)
    type(godwit_model), intent(in) :: model
    integer, intent(in) :: inputs, outputs
    type(error_c), intent(inout) :: error
    integer(c_int) :: code
    character(160) :: message
    integer :: has_inputs, has_outputs
    code = GODWIT_OK
    has_inputs = godwit_input_count(model)
    has_outputs = godwit_output_count(model)
    if (.not. godwit_is_open(model)) then
      code = refuse(error, "libgodwit: the model is not open")
    else if (has_inputs /= inputs .or. has_outputs /= outputs) then
      write (message, "(a, 3(i0, a), i0)") "libgodwit: the model has ", has_inputs, " inputs and ", &
           has_outputs, " outputs; given are ", inputs, " and ", outputs
      code = refuse(error, trim(message))
    end if
  end function must_have

  function must_have_one(model, error, outputs_too) result(code)
    type(godwit_model), intent(in) :: model
    type(error_c), intent(inout) :: error
    logical, intent(in) :: outputs_too
    integer(c_int) :: code
    integer :: outputs
    outputs = 1
    if (.not. outputs_too) outputs = godwit_output_count(model)
    code = must_have(model, 1, outputs, error)
  end function must_have_one

  subroutine report(code, error, stat, errmsg)
    integer(c_int), intent(in) :: code
    type(error_c), intent(in) :: error
    integer, intent(out), optional :: stat
    character(*), intent(inout), optional :: errmsg
    character(MESSAGE_MAX) :: message
    integer :: i
    if (present(stat)) stat = code
    if (code == GODWIT_OK) return
    message = ""
    do i = 1, MESSAGE_MAX
      if (error%message(i) == c_null_char) exit
      message(i:i) = error%message(i)
    end do
    if (present(errmsg)) errmsg = message
    if (present(stat)) return
    write (error_unit, "(a)") trim(message)
    error stop 1
  end subroutine report
end module godwit
